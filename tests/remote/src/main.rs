//! Serves so many CPU devices over loopback, and says where, until its input ends: burn's flex devices, or with
//! `all-reduce` behind their number such as have one.

use std::{io, net::TcpListener, thread};

use burn::{
    server::{RemoteServer, WebSocketTransport},
    tensor::Device,
};
use burn_remote::server::BackendServer;

mod all_reduce;

use all_reduce::{Cpu, FlexWithAllReduce};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().and_then(|count| count.parse().ok());
    let count: u16 = count.expect("a number of devices is given");
    let with_all_reduce = match arguments.next().as_deref() {
        None => false,
        Some("all-reduce") => true,
        Some(other) => panic!("what follows the number must be `all-reduce`, but is `{other}`"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    println!("ws://{}", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        let transport = WebSocketTransport::from_listener(listener);
        let served = match with_all_reduce {
            true => BackendServer::<FlexWithAllReduce>::new((0..count).map(Cpu)).serve(transport),
            false => RemoteServer::new(vec![Device::flex(); count.into()]).serve(transport),
        };
        served.expect("the server runs");
    });
    io::copy(&mut io::stdin(), &mut io::sink()).expect("the input ends");
}
