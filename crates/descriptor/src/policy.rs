//! A rule in words: "2 of 3 of alice, bob, carol; or after 4,032 blocks bob alone", the same words in which a wallet tells its
//! ways to spend ([`Definition::spend_words`](crate::Definition::spend_words)).

use anya_primitives::Network;

use crate::{
    definition::{Definition, Participant},
    error::{Error, Result},
    template::{Lock, Quorum, Rule, Way},
};

/// The longest rule, in characters.
const MAX_WORDS: usize = 10_000;

/// Makes a wallet of a rule in words.
///
/// Ways to spend are set apart by `; or `. Each is `NAME alone`, `A and B`, `A, B and C`, `any of A, B` or `K of N of A, B, C`,
/// and may begin with `after N blocks` (BIP68: coins that have rested so long). Names are those of `participants`.
///
/// # Errors
/// [`Error::Invalid`] for words that are none of these, and for names that nobody has; besides, as
/// [`Template::build`](crate::Template::build).
pub fn from_words(
    name: &str,
    words: &str,
    participants: &[Participant],
    lock: Lock,
    network: Network,
) -> Result<Definition> {
    if words.len() > MAX_WORDS {
        return Err(Error::TooLarge { field: "policy".into(), limit: MAX_WORDS, unit: "characters" });
    }
    for (at, participant) in participants.iter().enumerate() {
        let twice = participants.iter().take(at).any(|other| other.name == participant.name);
        let unclear = [",", ";", " and ", " alone"].iter().any(|part| participant.name.contains(part));
        if twice || unclear {
            let reason = "is another's too, or has in it what sets names apart: , ; and alone";
            return Err(Error::invalid(format!("participants[{at}].name"), reason));
        }
    }
    let ways = words.trim().split("; or ").map(|words| way(words, participants)).collect::<Result<_>>()?;
    Rule { lock, ways }.build(name, network)
}

fn way(words: &str, participants: &[Participant]) -> Result<Way> {
    let words = words.trim();
    let (after, who) = match words.strip_prefix("after ") {
        None => (None, words),
        Some(rest) => {
            let parts = rest.split_once(" blocks ").or_else(|| rest.split_once(" block "));
            let (number, who) =
                parts.ok_or_else(|| wrong(words, "after is followed by a number of blocks"))?;
            let blocks = number.replace(',', "").parse::<u16>().ok().filter(|blocks| *blocks > 0);
            (Some(blocks.ok_or_else(|| wrong(words, "blocks are 1 to 65,535"))?), who)
        }
    };
    if let Some(only) = who.strip_suffix(" alone") {
        return Ok(Way { after, signers: Quorum { needed: 1, of: vec![find(only, participants)?] } });
    }
    if let Some(names) = who.strip_prefix("any of ") {
        return Ok(Way { after, signers: Quorum { needed: 1, of: list(names, participants)? } });
    }
    if let Some((others, last)) = who.rsplit_once(" and ") {
        let mut of = list(others, participants)?;
        of.push(find(last, participants)?);
        return Ok(Way { after, signers: Quorum { needed: of.len(), of } });
    }
    let mut parts = who.splitn(3, " of ");
    let (Some(needed), Some(total), Some(names)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong(words, "somebody signs alone, all of some do, or K of N of some"));
    };
    let of = list(names, participants)?;
    let number = |text: &str| text.parse::<usize>().ok();
    if number(total) != Some(of.len()) {
        return Err(wrong(words, "there are as many names as the second number says"));
    }
    let needed = number(needed).ok_or_else(|| wrong(words, "the first number says how many sign"))?;
    Ok(Way { after, signers: Quorum { needed, of } })
}

fn list(names: &str, participants: &[Participant]) -> Result<Vec<Participant>> {
    names.split(", ").map(|name| find(name, participants)).collect()
}

fn find(name: &str, participants: &[Participant]) -> Result<Participant> {
    participants
        .iter()
        .find(|participant| participant.name == name.trim())
        .cloned()
        .ok_or_else(|| Error::invalid("policy", format!("nobody is called `{}`", name.trim())))
}

fn wrong(words: &str, rule: &str) -> Error {
    let shown: String = words.chars().take(100).collect();
    Error::invalid("policy", format!("`{shown}` is not understood: {rule}"))
}
