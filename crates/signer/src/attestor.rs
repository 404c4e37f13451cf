//! Where evidence comes from. There is no way from one to another: a signer that was told to show a quote and cannot
//! shows nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anya_enclave::{Binding, simulate};
use anya_provider::{Evidence, HexBytes};

use crate::error::{Error, Result};

/// The longest quote that is read.
const LONGEST: u64 = 64 * 1024;

/// Gives evidence that is bound to something. May block: a quote takes a processor up to a second.
pub trait Attestor: Send + Sync {
    /// Evidence, bound to `binding`.
    fn attest(&self, binding: &Binding) -> Result<Evidence>;

    /// What it is, for the log.
    fn name(&self) -> &'static str;
}

/// A plain process: evidence that says that it proves nothing.
pub struct Simulation;

impl Attestor for Simulation {
    fn attest(&self, binding: &Binding) -> Result<Evidence> {
        Ok(simulate(binding))
    }

    fn name(&self) -> &'static str {
        "simulated"
    }
}

/// An SGX enclave under Gramine, which offers quotes as files (Gramine documentation, "Attestation and Secret
/// Provisioning").
pub struct Gramine {
    folder: PathBuf,
    /// The files belong to the process: one quote at a time.
    alone: Mutex<()>,
}

impl Gramine {
    /// Where Gramine has its files.
    pub const FOLDER: &'static str = "/dev/attestation";
    /// The key that the processor gives to this very enclave (MRENCLAVE), for [`DataDir::vault`](crate::DataDir::vault).
    pub const SEALING_KEY: &'static str = "/dev/attestation/keys/_sgx_mrenclave";

    /// Looks for Gramine's files in `folder`.
    ///
    /// # Errors
    /// [`Error::Evidence`] when this process is no enclave, or one without DCAP attestation.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let kind = read(&folder.join("attestation_type"))?;
        if kind.trim_ascii() != b"dcap" {
            let reason =
                "its attestation is not DCAP: set `sgx.remote_attestation = \"dcap\"` in the manifest";
            return Err(Error::Evidence { path: folder, reason: reason.to_owned() });
        }
        Ok(Self { folder, alone: Mutex::new(()) })
    }
}

impl Attestor for Gramine {
    fn attest(&self, binding: &Binding) -> Result<Evidence> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let data = self.folder.join("user_report_data");
        fs::write(&data, binding.report_data()).map_err(|error| missing(&data, &error))?;
        Ok(Evidence::Dcap { quote: HexBytes(read(&self.folder.join("quote"))?) })
    }

    fn name(&self) -> &'static str {
        "sgx (Gramine)"
    }
}

/// A TDX domain, whose kernel offers quotes through configfs (Linux, `Documentation/ABI/testing/configfs-tsm-report`).
pub struct Tsm {
    folder: PathBuf,
    alone: Mutex<()>,
}

impl Tsm {
    /// Where the kernel has its files.
    pub const FOLDER: &'static str = "/sys/kernel/config/tsm/report";

    /// Looks for the kernel's files in `folder`.
    ///
    /// # Errors
    /// [`Error::Evidence`] when the kernel offers none.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        if !folder.is_dir() {
            let reason = "it is not there: this is no TDX domain, or its kernel lacks the tsm reports";
            return Err(Error::Evidence { path: folder, reason: reason.to_owned() });
        }
        Ok(Self { folder, alone: Mutex::new(()) })
    }

    fn quote(entry: &Path, binding: &Binding) -> Result<Vec<u8>> {
        let data = entry.join("inblob");
        fs::write(&data, binding.report_data()).map_err(|error| missing(&data, &error))?;
        let provider = read(&entry.join("provider"))?;
        if provider.trim_ascii() != b"tdx_guest" {
            let reason =
                format!("its provider is {}, not tdx_guest", String::from_utf8_lossy(&provider).trim());
            return Err(Error::Evidence { path: entry.to_owned(), reason });
        }
        let quote = read(&entry.join("outblob"))?;
        // One more write than ours, and the quote is for somebody else.
        let generation = read(&entry.join("generation"))?;
        if generation.trim_ascii() != b"1" {
            let reason = "somebody else wrote to this report".to_owned();
            return Err(Error::Evidence { path: entry.to_owned(), reason });
        }
        Ok(quote)
    }
}

impl Attestor for Tsm {
    fn attest(&self, binding: &Binding) -> Result<Evidence> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = self.folder.join(format!("anya-signer-{}", std::process::id()));
        // One that a killed signer left has other generations.
        let _ = fs::remove_dir(&entry);
        fs::create_dir(&entry).map_err(|error| missing(&entry, &error))?;
        let quote = Self::quote(&entry, binding);
        let _ = fs::remove_dir(&entry);
        Ok(Evidence::Dcap { quote: HexBytes(quote?) })
    }

    fn name(&self) -> &'static str {
        "tdx (configfs-tsm)"
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
        .map_err(|error| missing(path, &error))?;
    Ok(bytes)
}

fn missing(path: &Path, error: &io::Error) -> Error {
    let reason = format!("{error}: is this process in an enclave that offers quotes?");
    Error::Evidence { path: path.to_owned(), reason }
}
