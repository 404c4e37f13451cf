//! Asking a real node: answers, errors, and a node that goes away.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use std::time::{Duration, Instant};

use anya_chain::{BitcoinRpc, Call, ChainSource, Error, NodeSource, RpcAuth, RpcConfig, Timeouts, TxStatus};
use anya_primitives::{Amount, Classified, ErrorKind, Network};
use anya_testkit::{Bitcoind, Options};
use bitcoin::{BlockHash, Txid, hashes::Hash};
use secrecy::SecretString;
use serde_json::{Value, json};
use support::{config, quick, source};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_is_read_as_it_is() {
    let node = Bitcoind::start(Options::default()).unwrap();
    let address = node.new_address().unwrap();
    let txid = node.fund(&address, Amount::from_sat(50_000)).unwrap();
    let source = source(&node);

    let info = source.info().await.unwrap();
    assert_eq!((info.network, info.tip.height, info.headers), (Network::Regtest, 101, 101));
    assert_eq!(info.tip.hash, node.tip().unwrap());
    assert!(!info.pruned && info.version >= 290_000 && info.subversion.starts_with("/Satoshi:"));
    assert_eq!(source.tip().await.unwrap(), info.tip);

    assert_eq!(source.block_hash(101).await.unwrap(), Some(info.tip.hash));
    assert_eq!(source.block_hash(102).await.unwrap(), None);
    let header = source.header(&info.tip.hash).await.unwrap();
    assert_eq!((header.height, header.confirmations), (101, 1));
    let block = source.block(&info.tip.hash).await.unwrap();
    assert_eq!(block.header.prev_blockhash, header.prev);
    let genesis = source.block_hash(0).await.unwrap().unwrap();
    assert_eq!(source.header(&genesis).await.unwrap().prev, BlockHash::all_zeros());
    assert_eq!(source.block(&genesis).await.unwrap().txdata.len(), 1);
    let unknown = BlockHash::all_zeros();
    assert!(matches!(source.header(&unknown).await, Err(Error::UnknownBlock { .. })));
    assert!(matches!(source.block(&unknown).await, Err(Error::UnknownBlock { .. })));

    assert_eq!(source.mempool().await.unwrap(), [txid]);
    assert_eq!(source.transaction(&txid).await.unwrap().unwrap().compute_txid(), txid);
    let unknown = Txid::all_zeros();
    assert_eq!(source.transaction(&unknown).await.unwrap(), None);
    assert_eq!(source.transactions(&[unknown, txid, unknown]).await.unwrap().len(), 1);
    assert_eq!(source.tx_status(&txid, None).await.unwrap(), TxStatus::Mempool);
    let mined = node.mine(2, &address).unwrap();
    assert_eq!(source.tx_status(&txid, None).await.unwrap(), TxStatus::Unknown);
    let status = source.tx_status(&txid, Some(&mined[0])).await.unwrap();
    assert!(matches!(status, TxStatus::Confirmed { block, confirmations: 2 } if block.height == 102));
    assert_eq!(source.tx_status(&txid, Some(&mined[1])).await.unwrap(), TxStatus::Unknown);

    assert_eq!(source.estimate_fee(6).await.unwrap(), None, "regtest has no estimate, and none is invented");
    assert_eq!(source.estimate_fee(0).await.unwrap_err().kind(), ErrorKind::Invalid);
    let minimum = source.min_relay_fee().await.unwrap().to_sat_per_kwu();
    assert!((25..=250).contains(&minimum), "{minimum}");

    node.rpc("invalidateblock", json!([mined[0].to_string()])).unwrap();
    assert_eq!(source.header(&mined[1]).await.unwrap().confirmations, -1);
    assert_eq!(source.tx_status(&txid, Some(&mined[0])).await.unwrap(), TxStatus::Mempool);
    for (index, hash) in mined.iter().enumerate() {
        let at = anya_chain::BlockRef { height: 102 + u32::try_from(index).unwrap(), hash: *hash };
        assert!(source.is_invalid(at).await.unwrap());
    }
    assert!(!source.is_invalid(info.tip).await.unwrap());
    let elsewhere = anya_chain::BlockRef { height: 103, hash: info.tip.hash };
    assert!(!source.is_invalid(elsewhere).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_own_errors_are_typed() {
    let node = Bitcoind::start(Options::default()).unwrap();
    let rpc = BitcoinRpc::new(&config(&node)).unwrap();
    let call = async |method, params| rpc.call::<Value>(Call::read(method, params)).await.unwrap_err();
    assert!(matches!(call("getblockhash", json!([5])).await, Error::Rpc { code: -8, .. }));
    assert!(matches!(call("getblockheader", json!(["00"])).await, Error::Rpc { code: -8, .. }));
    let missing = call("nosuchmethod", json!([])).await;
    assert_eq!(missing.kind(), ErrorKind::Unsupported, "{missing}");
    let shape = rpc.call::<u32>(Call::read("getbestblockhash", json!([]))).await.unwrap_err();
    assert!(matches!(shape, Error::BadAnswer { .. }), "{shape}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_and_never_shown() {
    let node = Bitcoind::start(Options::default()).unwrap();
    let auth =
        |password: &str| RpcAuth::UserPass { user: "u".to_owned(), password: SecretString::from(password) };
    let wrong = RpcConfig::new(node.url(), auth("planted-secret"), Network::Regtest);
    let rpc = BitcoinRpc::new(&wrong).unwrap();
    let error = rpc.call::<u32>(Call::read("getblockcount", json!([]))).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized), "{error}");
    assert!(!format!("{error} {error:?} {rpc:?} {wrong:?}").contains("planted-secret"));

    let cookie = std::fs::read_to_string(node.cookie_file()).unwrap();
    let (user, password) = cookie.split_once(':').unwrap();
    let right = RpcAuth::UserPass { user: user.to_owned(), password: SecretString::from(password) };
    let rpc = BitcoinRpc::new(&RpcConfig::new(node.url(), right, Network::Regtest)).unwrap();
    assert_eq!(rpc.call::<u32>(Call::read("getblockcount", json!([]))).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_network_is_never_used() {
    let node = Bitcoind::start(Options::default()).unwrap();
    let transaction = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).txdata[0].clone();
    for network in [Network::Mainnet, Network::Testnet4, Network::Signet] {
        let config = RpcConfig::new(node.url(), RpcAuth::Cookie(node.cookie_file()), network);
        let source = NodeSource::new(&config).unwrap();
        for error in [
            source.tip().await.unwrap_err(),
            source.block_hash(0).await.unwrap_err(),
            source.mempool().await.unwrap_err(),
            source.estimate_fee(6).await.unwrap_err(),
            source.broadcast(&transaction).await.unwrap_err(),
        ] {
            assert!(matches!(&error, Error::WrongNetwork { found, .. } if found == "regtest"), "{error}");
            assert!(!error.maybe_sent());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_a_new_cookie_goes_unnoticed() {
    let mut node = Bitcoind::start(Options::default()).unwrap();
    let source = source(&node);
    node.mine_blocks(1).unwrap();
    assert_eq!(source.tip().await.unwrap().height, 1);
    for _ in 0..2 {
        node.restart().unwrap();
        assert_eq!(source.tip().await.unwrap().height, 1);
    }
    node.kill().unwrap();
    let error = source.tip().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    node.restart().unwrap();
    assert_eq!(source.tip().await.unwrap().height, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_costs_the_deadline_and_no_more() {
    let node = Bitcoind::start(Options::default()).unwrap();
    let source = NodeSource::new(&quick(config(&node))).unwrap();
    source.tip().await.unwrap();
    node.pause().unwrap();
    let started = Instant::now();
    let error = source.tip().await.unwrap_err();
    let waited = started.elapsed();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(waited >= Duration::from_millis(900) && waited < Duration::from_secs(4), "{waited:?}");
    node.resume().unwrap();
    source.tip().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_work_queue_is_waited_out() {
    let node = Bitcoind::start(Options::default().arg("-rpcthreads=1").arg("-rpcworkqueue=1")).unwrap();
    let rpc = BitcoinRpc::new(&config(&node)).unwrap();
    let calls: Vec<_> = (0..60)
        .map(|_| {
            let rpc = rpc.clone();
            tokio::spawn(async move {
                rpc.call::<Value>(Call::read("waitfornewblock", json!([20]))).await.map(drop)
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }

    // While two long waits fill thread and queue, those behind them are told so, though they were never sent.
    let long: Vec<_> = (0..2)
        .map(|_| {
            let rpc = rpc.clone();
            tokio::spawn(async move {
                rpc.call::<Value>(Call::read("waitfornewblock", json!([1_500]))).await.map(drop)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let short = Duration::from_millis(300);
    let busy = rpc.call::<u32>(Call::read("getblockcount", json!([])).within(short)).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }) && !busy.maybe_sent(), "{busy}");
    for call in long {
        call.await.unwrap().unwrap();
    }

    // Clients that have not learnt of it are refused by the node itself: an idempotent call ends with the truth at its
    // deadline, and another one is not repeated.
    let fresh = || BitcoinRpc::new(&config(&node)).unwrap();
    let rpc = fresh();
    let long: Vec<_> = (0..2)
        .map(|_| {
            let rpc = rpc.clone();
            tokio::spawn(async move {
                rpc.call::<Value>(Call::read("waitfornewblock", json!([3_000]))).await.map(drop)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let short = Duration::from_millis(500);
    let busy = rpc.call::<u32>(Call::read("getblockcount", json!([])).within(short)).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }) && !busy.maybe_sent(), "{busy}");
    let once = fresh().call::<u32>(Call::once("getblockcount", json!([]))).await.unwrap_err();
    assert!(matches!(once, Error::Busy { .. }), "{once}");
    for call in long {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruned_block_is_gone_with_a_remedy() {
    let node = Bitcoind::start(Options::default().arg("-prune=1").arg("-fastprune")).unwrap();
    let address = node.new_address().unwrap();
    node.mine(900, &address).unwrap();
    let pruned_to = node.rpc("pruneblockchain", json!([600])).unwrap();
    assert!(pruned_to.as_u64() > Some(5), "{pruned_to}");
    let source = source(&node);
    assert!(source.info().await.unwrap().pruned);
    let hash = source.block_hash(5).await.unwrap().unwrap();
    let error = source.block(&hash).await.unwrap_err();
    assert!(matches!(error, Error::Pruned { .. }), "{error}");
    assert!(error.to_string().contains("-prune"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let cookie = folder.path().join(".cookie");
    let config = RpcConfig {
        url: "http://127.0.0.1:9".to_owned(),
        auth: RpcAuth::Cookie(cookie.clone()),
        network: Network::Regtest,
        timeouts: Timeouts::default(),
    };
    let rpc = BitcoinRpc::new(&config).unwrap();
    let call = async || rpc.call::<u32>(Call::read("getblockcount", json!([]))).await.unwrap_err();
    assert!(matches!(call().await, Error::Cookie { .. }));
    std::fs::write(&cookie, "not a cookie").unwrap();
    assert!(matches!(call().await, Error::Cookie { .. }));
    std::fs::write(&cookie, "__cookie__:secret").unwrap();
    let refused = call().await;
    assert!(matches!(refused, Error::Unreachable { maybe_sent: false, .. }), "{refused}");
    assert!(!format!("{refused:?}").contains("secret"));
}
