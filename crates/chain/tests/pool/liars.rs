//! Nodes that lie, beside one that does not.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anya_chain::{ChainSource, Expulsion, PoolNodeState};
use anya_testkit::Bitcoind;
use bitcoin::{
    BlockHash, CompactTarget, TxMerkleNode, Work,
    block::{Header, Version},
    consensus::encode::serialize_hex,
    constants::genesis_block,
    hashes::Hash,
};
use serde_json::{Value, json};

use crate::{
    fake::{FakeNode, Reply},
    rig::{FAST, Load, healthy, in_state, pool_of, report, start, tip_of},
    support::config,
};

/// A chain of headers over regtest's genesis block, each meeting its target as far as `sound` says so.
fn chain(length: u32, sound: impl Fn(u32) -> bool) -> Vec<Header> {
    let mut headers = vec![genesis_block(bitcoin::Network::Regtest).header];
    for height in 1..=length {
        let last = headers[headers.len() - 1];
        let mut header = Header {
            version: Version::TWO,
            prev_blockhash: last.block_hash(),
            merkle_root: TxMerkleNode::from_byte_array([7; 32]),
            time: last.time + 600,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        while header.target().is_met_by(header.block_hash()) != sound(height) {
            header.nonce += 1;
        }
        headers.push(header);
    }
    headers
}

fn work_of(headers: &[Header]) -> Work {
    headers.iter().skip(1).fold(headers[0].work(), |sum, header| sum + header.work())
}

/// What a node with this chain answers.
fn answer(headers: &[Header], work: Work, method: &str, params: &Value) -> Reply {
    let hashes: Vec<BlockHash> = headers.iter().map(Header::block_hash).collect();
    let top = hashes.len() - 1;
    let place = |hash: &Value| hashes.iter().position(|known| json!(known) == *hash);
    Reply::Result(match method {
        "getblockchaininfo" => json!({
            "chain": "regtest", "blocks": top, "headers": top, "bestblockhash": hashes[top],
            "chainwork": format!("{work:064x}"),
        }),
        "getnetworkinfo" => json!({"version": 290_000, "subversion": "/Fake:1/", "connections": 8}),
        "getchaintips" => json!([{"height": top, "hash": hashes[top], "branchlen": 0, "status": "active"}]),
        "getblockhash" => {
            match params[0].as_u64().and_then(|height| hashes.get(usize::try_from(height).ok()?)) {
                Some(hash) => json!(hash),
                None => return Reply::Error(-8, "Block height out of range"),
            }
        }
        "getblockheader" => match place(&params[0]) {
            Some(at) if params[1] == json!(false) => json!(serialize_hex(&headers[at])),
            Some(at) => json!({
                "height": at, "time": headers[at].time, "confirmations": top - at + 1,
                "previousblockhash": at.checked_sub(1).map(|under| hashes[under]),
            }),
            None => return Reply::Error(-5, "Block not found"),
        },
        _ => return Reply::Error(-32601, "Method not found"),
    })
}

type Lie = Box<dyn Fn(&str, &Value) -> Reply + Send + Sync>;

/// The liar is found out beside an honest node of ten blocks, and no reader notices it.
async fn found_out(honest: &Bitcoind, lie: Lie, expected: fn(&Expulsion) -> bool) {
    let lying = Arc::new(AtomicBool::new(true));
    let (lies, repented) = (Arc::clone(&lying), chain(3, |_| true));
    let fake = FakeNode::start(move |method, params| {
        if lies.load(Ordering::Relaxed) {
            lie(method, params)
        } else {
            answer(&repented, work_of(&repented), method, params)
        }
    })
    .await;
    let pool = pool_of(vec![fake.config(), config(honest)], FAST);
    let load = Load::start(&pool, 4);
    in_state(&pool, 0, "expelled", |state| matches!(state, PoolNodeState::Expelled(why) if expected(why)))
        .await;
    load.more(50).await;
    assert_eq!(pool.tip().await.unwrap(), tip_of(honest));
    assert!(!report(&pool, 0).usable && report(&pool, 1).leads);
    load.all_well().await;
    // It tells the truth again, which is a shorter branch: no longer a liar, but not on the right one.
    lying.store(false, Ordering::Relaxed);
    in_state(&pool, 0, "judged by its chain", |state| {
        matches!(state, PoolNodeState::Expelled(Expulsion::WrongFork { .. }))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tip_that_its_headers_do_not_show_is_a_lie() {
    let honest = start();
    honest.mine(10, &honest.new_address().unwrap()).unwrap();
    let lying = |why: &Expulsion| matches!(why, Expulsion::Lying { .. });

    // It has no header for its tip.
    let sound = chain(20, |_| true);
    let headless = sound.clone();
    let lie: Lie = Box::new(move |method, params| {
        let tip = json!(headless[20].block_hash());
        if method == "getblockheader" && params[0] == tip {
            return Reply::Error(-5, "Block not found");
        }
        answer(&headless, work_of(&headless), method, params)
    });
    found_out(&honest, lie, lying).await;

    // The tip's own proof of work does not hold, or that of a block on the way.
    for bad in [20, 5] {
        let forged = chain(20, |height| height != bad);
        let lie: Lie = Box::new(move |method, params| answer(&forged, work_of(&forged), method, params));
        found_out(&honest, lie, lying).await;
    }

    // It claims more work than its headers have.
    let boaster = sound.clone();
    let lie: Lie = Box::new(move |method, params| {
        answer(&boaster, work_of(&boaster) + boaster[0].work(), method, params)
    });
    found_out(&honest, lie, lying).await;

    // Its heights and hashes do not fit together: it is one block higher than it can show.
    let taller = sound.clone();
    let lie: Lie = Box::new(move |method, params| match method {
        "getblockchaininfo" => Reply::Result(json!({
            "chain": "regtest", "blocks": 21, "headers": 21, "bestblockhash": taller[20].block_hash(),
        })),
        _ => answer(&taller, work_of(&taller), method, params),
    });
    found_out(&honest, lie, lying).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_another_question_and_another_network_are_found_out() {
    let honest = start();
    honest.mine(10, &honest.new_address().unwrap()).unwrap();
    let sound = chain(20, |_| true);
    let lie: Lie = Box::new(move |method, params| match answer(&sound, work_of(&sound), method, params) {
        Reply::Result(value) if method == "getblockchaininfo" => Reply::OtherId(value),
        other => other,
    });
    found_out(
        &honest,
        lie,
        |why| matches!(why, Expulsion::WrongAnswer { detail } if detail.contains("another call")),
    )
    .await;

    let elsewhere = chain(20, |_| true);
    let lie: Lie = Box::new(move |method, params| match method {
        "getblockhash" if params[0] == json!(0) => {
            Reply::Result(json!(genesis_block(bitcoin::Network::Signet).block_hash()))
        }
        _ => answer(&elsewhere, work_of(&elsewhere), method, params),
    });
    found_out(&honest, lie, |why| matches!(why, Expulsion::WrongNetwork { .. })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_is_never_given_the_answer_of_a_node_that_mistakes_its_questions() {
    let honest = start();
    honest.mine(10, &honest.new_address().unwrap()).unwrap();
    // A mirror of the honest node's headers that now and then answers another question.
    let headers: Vec<Header> = (0..=10)
        .map(|height| {
            let hash = honest.rpc("getblockhash", json!([height])).unwrap();
            let hex = honest.rpc("getblockheader", json!([hash, false])).unwrap();
            bitcoin::consensus::encode::deserialize_hex(hex.as_str().unwrap()).unwrap()
        })
        .collect();
    let wrong = Arc::new(AtomicBool::new(false));
    let mistakes = Arc::clone(&wrong);
    let fake = FakeNode::start(move |method, params| {
        let reply = answer(&headers, work_of(&headers), method, params);
        match reply {
            Reply::Result(value) if params[1] == json!(true) && mistakes.load(Ordering::Relaxed) => {
                Reply::OtherId(value)
            }
            reply => reply,
        }
    })
    .await;
    let pool = pool_of(vec![fake.config(), config(&honest)], FAST);
    healthy(&pool, 0).await;
    healthy(&pool, 1).await;
    let tip = tip_of(&honest);
    wrong.store(true, Ordering::Relaxed);
    for _ in 0..200 {
        assert_eq!(pool.header(&tip.hash).await.unwrap().height, 10);
    }
    wrong.store(false, Ordering::Relaxed);
    healthy(&pool, 0).await;
}
