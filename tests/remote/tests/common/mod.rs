//! A process that serves devices, and the nets of the library's own tests.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Tensor, remote::RemoteHost},
};

#[path = "../../../alignment/problems.rs"]
#[allow(dead_code)]
pub mod problems;

/// A process that serves devices, until it is dropped.
pub struct Server {
    process: Child,
    host: RemoteHost,
}

impl Server {
    #[allow(dead_code)]
    pub fn start(devices: usize) -> Self {
        Self::with_arguments(&[&devices.to_string()])
    }

    /// Of devices that can have collectives.
    #[allow(dead_code)]
    pub fn with_all_reduce(devices: usize) -> Self {
        Self::with_arguments(&[&devices.to_string(), "all-reduce"])
    }

    fn with_arguments(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_roga-remote"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut address).unwrap();
        Self {
            process,
            host: RemoteHost::websocket(address.trim()),
        }
    }

    /// One of its devices.
    pub fn device(&self, index: usize) -> Device {
        let options = Device::remote_options(&self.host);
        let device = options.device_index(index).init();
        device.unwrap().autodiff()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A net as a worker under `ExecutionStrategy::ddp` has it.
#[allow(dead_code)]
pub fn marked<M: Module>(net: M) -> M {
    struct Mark;

    impl ModuleMapper for Mark {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let id = param.id;
            param.map(|tensor| tensor.set_distributed(id))
        }
    }

    net.map(&mut Mark)
}
