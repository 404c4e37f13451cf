//! Logs that devices keep by themselves, drained into ours.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use anya_provider::Provider as _;
use anya_treasury::Treasury;
use anya_yubihsm::{Error as Fault, LogMark, YubihsmProvider};

/// How often a device's log is drained. The device keeps 62 entries, and with `force-audit` waits for us when they are
/// full.
const EVERY: Duration = Duration::from_secs(2);
/// How long one look may take.
const WITHIN: Duration = Duration::from_secs(10);

/// The devices whose logs are drained: those that are in use now.
#[derive(Default)]
pub(crate) struct DeviceLogs(Mutex<Vec<Weak<YubihsmProvider>>>);

impl DeviceLogs {
    pub(super) fn follow(&self, device: &Arc<YubihsmProvider>) {
        let mut devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        devices.retain(|device| device.strong_count() > 0);
        devices.push(Arc::downgrade(device));
    }

    fn devices(&self) -> Vec<Arc<YubihsmProvider>> {
        let devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().filter_map(Weak::upgrade).collect()
    }

    /// Drains them again and again, until it is stopped.
    pub(crate) async fn drain(self: Arc<Self>, treasury: Treasury) {
        loop {
            for device in self.devices() {
                if let Err(error) = take_over(&device, &treasury).await {
                    tracing::warn!(provider = device.id(), error, "the device's log could not be taken over");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn take_over(device: &YubihsmProvider, treasury: &Treasury) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let name = device.id();
    let mark = treasury.device_log_mark(name).await.map_err(|error| text(&error))?;
    let mark: Option<LogMark> = mark.map(serde_json::from_value).transpose().map_err(|error| text(&error))?;
    let drained = match device.drain_log(mark.as_ref(), Instant::now() + WITHIN).await {
        Ok(drained) => drained,
        Err(Fault::Log(fault)) => {
            tracing::error!(provider = name, %fault, "the device's own log is not whole");
            return treasury
                .note_device_log_fault(name, &fault.to_string())
                .await
                .map_err(|error| text(&error));
        }
        Err(error) => return Err(text(&error)),
    };
    let Some(through) = drained.mark() else { return Ok(()) };
    let entries: Result<Vec<_>, _> = drained.entries.iter().map(serde_json::to_value).collect();
    let (entries, now_at) = entries
        .and_then(|entries| Ok((entries, serde_json::to_value(through)?)))
        .map_err(|error| text(&error))?;
    treasury.take_device_log(name, entries, now_at).await.map_err(|error| text(&error))?;
    // What is stored for good the device may forget.
    device.acknowledge_log(&through, Instant::now() + WITHIN).await.map_err(|error| text(&error))
}
