//! Between the versions, and between this crate's type and `bitcoin`'s.

use crate::{
    codec::{MAX_INPUTS, MAX_OUTPUTS},
    error::{Error, Place, Result},
    model::{Input, Modifiable, Output, Psbt, Version},
};

impl Psbt {
    /// The same PSBT in another version.
    ///
    /// From 0 to 2 nothing changes but the form. From 2 to 0 the transaction is fixed: its lock time is what the inputs
    /// require together, sequence numbers that were left open become final ones, and which input required which lock
    /// time is no longer said. The transaction, its id and all signatures stay as they are.
    ///
    /// # Errors
    /// To version 0: [`Error::StillModifiable`] while inputs or outputs may be added ([`Psbt::close`] ends that), and
    /// [`Error::LockTimeConflict`].
    pub fn to_version(&self, version: Version) -> Result<Self> {
        let mut psbt = self.clone();
        if version == self.version {
            return Ok(psbt);
        }
        if version == Version::V0 {
            if self.modifiable.is_some_and(|flags| flags.inputs() || flags.outputs()) {
                return Err(Error::StillModifiable);
            }
            psbt.fallback_lock_time = Some(self.lock_time()?);
            psbt.modifiable = None;
            for input in &mut psbt.inputs {
                input.sequence = Some(input.sequence());
                input.required_height = None;
                input.required_time = None;
            }
        }
        psbt.version = version;
        Ok(psbt)
    }

    /// The same PSBT with nothing more to be added (BIP370: a constructor may declare that).
    #[must_use]
    pub fn close(mut self) -> Self {
        self.modifiable = self.modifiable.map(Modifiable::without_inputs).map(Modifiable::without_outputs);
        self
    }

    /// The PSBT as `bitcoin`'s own type, which knows version 0 only.
    ///
    /// # Errors
    /// Those of [`to_version`](Self::to_version).
    pub fn to_v0(&self) -> Result<bitcoin::Psbt> {
        let psbt = self.to_version(Version::V0)?;
        Ok(bitcoin::Psbt {
            unsigned_tx: psbt.unsigned_tx()?,
            version: 0,
            xpub: psbt.xpubs,
            proprietary: psbt.proprietary,
            unknown: psbt.unknown,
            inputs: psbt.inputs.into_iter().map(|input| input.map).collect(),
            outputs: psbt.outputs.into_iter().map(|output| output.map).collect(),
        })
    }

    /// A PSBT of version 0 from `bitcoin`'s own type.
    ///
    /// # Errors
    /// [`Error::Different`] when its maps do not fit its transaction, [`Error::UnsupportedVersion`], [`Error::TooMany`],
    /// [`Error::Malformed`] when the transaction holds signatures or a map holds a field of another version.
    pub fn from_v0(psbt: bitcoin::Psbt) -> Result<Self> {
        let transaction = &psbt.unsigned_tx;
        if psbt.version != 0 {
            return Err(Error::UnsupportedVersion(psbt.version));
        }
        if transaction.input.len() != psbt.inputs.len() || transaction.output.len() != psbt.outputs.len() {
            return Err(Error::Different("its maps do not fit its transaction"));
        }
        let too_many = |what, limit| Err(Error::TooMany { place: Place::Global, what, limit });
        if psbt.inputs.len() > MAX_INPUTS {
            return too_many("inputs", MAX_INPUTS);
        }
        if psbt.outputs.len() > MAX_OUTPUTS {
            return too_many("outputs", MAX_OUTPUTS);
        }
        if transaction.input.iter().any(|input| !input.script_sig.is_empty() || !input.witness.is_empty()) {
            return Err(Error::Malformed {
                place: Place::Global,
                field: "PSBT_GLOBAL_UNSIGNED_TX",
                reason: "holds signatures",
            });
        }
        let inputs = transaction.input.iter().zip(psbt.inputs).map(|(input, map)| Input {
            sequence: Some(input.sequence),
            map,
            ..Input::new(input.previous_output)
        });
        let outputs = transaction.output.iter().zip(psbt.outputs);
        let converted = Self {
            version: Version::V0,
            tx_version: transaction.version,
            fallback_lock_time: Some(transaction.lock_time),
            modifiable: None,
            xpubs: psbt.xpub,
            proprietary: psbt.proprietary,
            unknown: psbt.unknown,
            inputs: inputs.collect(),
            outputs: outputs.map(|(txout, map)| Output { txout: txout.clone(), map }).collect(),
        };
        // Its fields are public and may hold anything; what cannot be read again is refused here and now.
        match crate::codec::decode(&converted.to_bytes())? {
            same if same == converted => Ok(same),
            _ => Err(Error::Different("it cannot be written and read again")),
        }
    }
}
