//! A stranger between a node and its peer who changes messages of the node (P2P protocol version 1).

use std::{net::SocketAddr, sync::Arc};

use anya_filters::Peer;
use bitcoin::hashes::{Hash, sha256d};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};

/// What is made of a message: its command, and its content to be changed in place.
pub(crate) type Meddle = dyn Fn(&str, &mut Vec<u8>) + Send + Sync;

/// Listens, and stands between whoever connects and `node`.
pub(crate) async fn between(
    node: SocketAddr,
    meddle: impl Fn(&str, &mut Vec<u8>) + Send + Sync + 'static,
) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let meddle: Arc<Meddle> = Arc::new(meddle);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(node).await else { continue };
            let (mut from_client, to_client) = client.into_split();
            let (from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(forward(from_server, to_client, Arc::clone(&meddle)));
        }
    });
    address.to_string().parse().unwrap()
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    meddle: Arc<Meddle>,
) -> std::io::Result<()> {
    loop {
        // Magic, command, length, checksum.
        let mut head = [0u8; 24];
        from.read_exact(&mut head).await?;
        let length = u32::from_le_bytes(head[16..20].try_into().unwrap());
        let mut content = vec![0; length as usize];
        from.read_exact(&mut content).await?;
        let command = String::from_utf8_lossy(&head[4..16]).trim_end_matches('\0').to_owned();
        meddle(&command, &mut content);
        head[16..20].copy_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
        head[20..24].copy_from_slice(&sha256d::Hash::hash(&content).as_byte_array()[..4]);
        to.write_all(&head).await?;
        to.write_all(&content).await?;
    }
}
