//! The spend policies that the demo puts in force, as an operator would write them.

/// Above this, a payment needs two of three: 0.01 BTC.
const LARGE_SAT: u64 = 1_000_000;

/// No more than this leaves within a day: 3 BTC.
const A_DAY_SAT: u64 = 300_000_000;

/// Confirmations that settle a payment.
pub(super) const SETTLE: u32 = 2;

/// The first policy: small payments to suppliers pass; large ones, and those to anybody else, need two of the
/// three operators, and the proposer is not one of them; a day has its limit.
pub(super) fn first(operators: &[&str], supplier: &str) -> String {
    let operators: Vec<_> = operators.iter().map(|id| format!("\"{id}\"")).collect();
    let operators = operators.join(", ");
    format!(
        r#"description = "Small payments to suppliers pass by themselves; all else needs two of three."
settle_confirmations = {SETTLE}
governance = {{ approvals = 2, group = "treasurers" }}

[groups]
treasurers = [{operators}]

[allow_lists]
suppliers = ["{supplier}"]

[[rules]]
name = "small payments to suppliers"
when = {{ amount_up_to_sat = {LARGE_SAT}, destinations = {{ inside = "suppliers" }} }}
effect = "allow"

[[rules]]
name = "large payments"
when = {{ amount_above_sat = {LARGE_SAT} }}
effect = {{ require = {{ approvals = 2, group = "treasurers" }} }}

[[rules]]
name = "outside the allow-list"
when = {{ destinations = {{ outside = "suppliers" }} }}
effect = {{ require = {{ approvals = 2, group = "treasurers" }} }}

[[rules]]
name = "a day"
effect = {{ limit = {{ window_seconds = 86400, max_amount_sat = {A_DAY_SAT} }} }}
"#
    )
}

/// The second policy: the first, and whatever leaves the vault needs two of three.
pub(super) fn second(first: &str, vault: &str) -> String {
    format!(
        r#"{first}
[[rules]]
name = "out of the vault"
when = {{ wallets = ["{vault}"] }}
effect = {{ require = {{ approvals = 2, group = "treasurers" }} }}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_are_toml_and_say_what_the_demo_shows() {
        let policy = second(&first(&["opr_1", "opr_2", "opr_3"], "bcrt1q"), "wal_1");
        let table: toml::Table = policy.parse().unwrap();
        assert_eq!(table["groups"]["treasurers"].as_array().unwrap().len(), 3);
        assert_eq!(table["allow_lists"]["suppliers"][0].as_str(), Some("bcrt1q"));
        assert_eq!(table["governance"]["approvals"].as_integer(), Some(2));
        let rules = table["rules"].as_array().unwrap();
        assert_eq!(rules.len(), 5);
        assert_eq!(rules[4]["when"]["wallets"][0].as_str(), Some("wal_1"));
        assert_eq!(rules[3]["effect"]["limit"]["max_amount_sat"].as_integer(), Some(300_000_000));
    }
}
