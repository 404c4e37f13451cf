//! How long signatures take, one at a time.

use std::time::{Duration, Instant};

use anya_provider::{Algorithm, KeySpec};

use crate::{
    ask::{Ask, variants},
    lab::Lab,
    report::Latency,
    suite::Progress,
    verdict::Stop,
};

/// The figures of every declared algorithm. One whose key does not work is left out: a case has told of it.
pub(crate) async fn all(lab: &Lab, progress: &(dyn Fn(Progress<'_>) + Send + Sync)) -> Vec<Latency> {
    let mut all = Vec::new();
    for algorithm in Algorithm::ALL {
        for spec in lab.specs_for(algorithm) {
            if let Ok(latency) = one(lab, spec, algorithm).await {
                progress(Progress::Measured(&latency));
                all.push(latency);
            }
        }
    }
    all
}

async fn one(lab: &Lab, spec: KeySpec, algorithm: Algorithm) -> Result<Latency, Stop> {
    let key = lab.shared(spec).await?;
    let variant = variants(algorithm)?.into_iter().next();
    let until = Instant::now() + lab.limits.measure;
    let mut times = Vec::new();
    while times.len() < 10 || (Instant::now() < until && times.len() < 1000) {
        let (ctx, provider) = (lab.again(&key.ctx), lab.provider());
        let ask = variant.map(|variant| Ask::random(spec, variant)).transpose()?;
        let began = Instant::now();
        match &ask {
            Some(ask) => {
                let request = ask.request();
                lab.get("sign", ctx.deadline, provider.sign(&ctx, &key.handle, &request)).await?;
            }
            None => {
                let call = provider.encrypt(&ctx, &key.handle, b"", &[0; 64]);
                lab.get("encrypt", ctx.deadline, call).await?;
            }
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent).div_ceil(100) - 1).copied();
    Ok(Latency {
        algorithm,
        spec,
        samples: times.len(),
        p50: at(50).unwrap_or_default(),
        p99: at(99).unwrap_or_default(),
        max: times.last().copied().unwrap_or(Duration::ZERO),
    })
}
