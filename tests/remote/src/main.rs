//! Serves so many CPU devices over loopback, and says where, until its input ends.

use std::{io, net::TcpListener, thread};

use burn::{
    server::{RemoteServer, WebSocketTransport},
    tensor::Device,
};

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok());
    let devices = vec![Device::flex(); count.unwrap_or(1)];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    println!("ws://{}", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        let transport = WebSocketTransport::from_listener(listener);
        RemoteServer::new(devices)
            .serve(transport)
            .expect("the server runs");
    });
    io::copy(&mut io::stdin(), &mut io::sink()).expect("the input ends");
}
