//! Serde forms of amounts and fee rates.
//!
//! Amounts travel as integers of satoshi, never as floating point. Fee rates are held as
//! [`FeeRate`] (sat per 1000 weight units) and travel as a decimal number of sat/vB.

pub use bitcoin::{Amount, FeeRate};

/// The most satoshi that can exist: 21 million bitcoin (Bitcoin Core's `MAX_MONEY`).
pub const MAX_MONEY: Amount = Amount::MAX_MONEY;

/// `#[serde(with = "fee_rate_sat_vb")]`: a [`FeeRate`] as a JSON number of sat/vB.
pub mod fee_rate_sat_vb {
    use bitcoin::FeeRate;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Highest accepted fee rate, in sat/vB. Beyond it a fee rate is a typing mistake.
    pub const MAX_SAT_VB: f64 = 100_000.0;

    /// Writes sat/vB.
    pub fn serialize<S: Serializer>(rate: &FeeRate, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(to_sat_vb(*rate))
    }

    /// Reads sat/vB, rounded to the nearest sat per 1000 weight units.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FeeRate, D::Error> {
        let sat_vb = f64::deserialize(deserializer)?;
        from_sat_vb(sat_vb).ok_or_else(|| D::Error::custom("fee rate must lie between 0 and 100000 sat/vB"))
    }

    /// A fee rate in sat/vB.
    #[allow(clippy::cast_precision_loss)]
    pub fn to_sat_vb(rate: FeeRate) -> f64 {
        rate.to_sat_per_kwu() as f64 / 250.0
    }

    /// The fee rate of `sat_vb`, or `None` when it is not a number between 0 and [`MAX_SAT_VB`].
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn from_sat_vb(sat_vb: f64) -> Option<FeeRate> {
        (sat_vb.is_finite() && (0.0..=MAX_SAT_VB).contains(&sat_vb))
            .then(|| FeeRate::from_sat_per_kwu((sat_vb * 250.0).round() as u64))
    }

    /// The same for optional fields.
    pub mod opt {
        use bitcoin::FeeRate;
        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        /// Writes sat/vB, or null.
        pub fn serialize<S: Serializer>(rate: &Option<FeeRate>, serializer: S) -> Result<S::Ok, S::Error> {
            match rate {
                Some(rate) => super::serialize(rate, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads sat/vB, or null.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FeeRate>, D::Error> {
            match Option::<f64>::deserialize(deserializer)? {
                None => Ok(None),
                Some(sat_vb) => super::from_sat_vb(sat_vb)
                    .map(Some)
                    .ok_or_else(|| D::Error::custom("fee rate must lie between 0 and 100000 sat/vB")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fee_rate_sat_vb::{from_sat_vb, to_sat_vb};

    #[test]
    fn fee_rates_round_trip_and_refuse_nonsense() {
        for sat_vb in [0.0, 1.0, 1.5, 0.1, 12.34, 100_000.0] {
            let rate = from_sat_vb(sat_vb).unwrap();
            assert!((to_sat_vb(rate) - sat_vb).abs() < 0.003, "{sat_vb}");
        }
        for bad in [f64::NAN, f64::INFINITY, -1.0, 100_000.1] {
            assert!(from_sat_vb(bad).is_none(), "{bad}");
        }
    }
}
