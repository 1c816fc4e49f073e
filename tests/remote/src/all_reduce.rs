//! CPU devices that have an all-reduce: flex has none, so that it stands behind burn's router here, where the
//! all-reduces of several devices meet.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Condvar, Mutex},
};

use burn_backend::{
    DType, DTypeUsageSet, DeviceId, DeviceOps, DeviceSettings, ExecutionError, Shape, TensorData,
    distributed::ReduceOperation, ops::FloatTensorOps,
};
use burn_flex::{Flex, FlexDevice, FlexTensor};
use burn_ir::{
    AllReduceOpIr, DistributedOperationIr, GraphBindings, GraphId, HandleKind, OperationIr,
    TensorId, TensorIr,
};
use burn_router::{
    BackendRouter, MultiBackendBridge, RouterChannel, RouterClient, RouterTensor, TensorInterpreter,
};
use burn_std::{device::Device, future::DynFut};

/// Flex with an all-reduce.
pub type FlexWithAllReduce = BackendRouter<Channel>;

/// One of several devices, all of which are the CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu(pub u16);

impl Device for Cpu {
    fn from_id(id: DeviceId) -> Self {
        Self(id.index_id)
    }

    fn to_id(&self) -> DeviceId {
        DeviceId::new(0, self.0)
    }
}

impl DeviceOps for Cpu {
    fn defaults(&self) -> DeviceSettings {
        FlexDevice.defaults()
    }
}

/// Where the devices' all-reduces meet: those of a group of devices, in the order in which each asks for them.
#[derive(Default)]
struct Meeting {
    rounds: Mutex<HashMap<(Vec<u16>, usize), Round>>,
    arrival: Condvar,
}

#[derive(Default)]
struct Round {
    tensors: BTreeMap<u16, FlexTensor>,
    left: usize,
}

static MEETING: std::sync::LazyLock<Meeting> = std::sync::LazyLock::new(Meeting::default);

impl Meeting {
    /// The tensors of all devices of the group, by their numbers; waits for the last of them.
    fn meet(
        &self,
        group: Vec<u16>,
        round: usize,
        device: u16,
        tensor: FlexTensor,
    ) -> Vec<FlexTensor> {
        assert!(group.contains(&device), "{device} is not of {group:?}");
        let (devices, key) = (group.len(), (group, round));
        let mut rounds = self.rounds.lock().unwrap();
        let other = (rounds.entry(key.clone()).or_default().tensors).insert(device, tensor);
        assert!(other.is_none(), "{device} has met {key:?} twice");
        self.arrival.notify_all();
        let mut rounds = self
            .arrival
            .wait_while(rounds, |rounds| rounds[&key].tensors.len() < devices)
            .unwrap();
        let met = rounds.get_mut(&key).unwrap();
        let tensors = met.tensors.values().cloned().collect();
        met.left += 1;
        if met.left == devices {
            rounds.remove(&key);
        }
        tensors
    }
}

#[derive(Clone)]
pub struct Client {
    device: Cpu,
    interpreter: Arc<Mutex<TensorInterpreter<Flex>>>,
    /// How many all-reduces the device has asked a group for.
    rounds: Arc<Mutex<HashMap<Vec<u16>, usize>>>,
}

impl Client {
    fn interpreter(&self) -> std::sync::MutexGuard<'_, TensorInterpreter<Flex>> {
        self.interpreter.lock().unwrap()
    }

    /// The sum of the devices' tensors in the order of their numbers, the same on all of them to the last bit.
    fn all_reduce(&self, all_reduce: &AllReduceOpIr) {
        let tensor = self.interpreter().get_tensor(&all_reduce.tensor);
        let HandleKind::Float(tensor) = tensor else {
            unreachable!("an all-reduce is of floats");
        };
        let devices = all_reduce.device_ids.iter();
        let mut group: Vec<u16> = devices.map(|it| it.index_id).collect();
        group.sort_unstable();
        let round = {
            let mut rounds = self.rounds.lock().unwrap();
            let round = rounds.entry(group.clone()).or_default();
            *round += 1;
            *round
        };
        let tensors = MEETING.meet(group, round, self.device.0, tensor);
        let count = tensors.len();
        let sum = tensors.into_iter().reduce(Flex::float_add).unwrap();
        let reduced = match all_reduce.op {
            ReduceOperation::Sum => sum,
            ReduceOperation::Mean => Flex::float_div_scalar(sum, (count as f32).into()),
        };
        let reduced = HandleKind::Float(reduced);
        (self.interpreter()).register_tensor_to_device(all_reduce.out.id, reduced);
    }
}

impl RouterClient for Client {
    type Device = Cpu;

    fn register_op(&self, op: OperationIr) {
        match op {
            OperationIr::Distributed(DistributedOperationIr::AllReduce(it)) => self.all_reduce(&it),
            OperationIr::Distributed(DistributedOperationIr::SyncCollective) => {}
            op => self.interpreter().register_op(op),
        }
    }

    fn read_tensor_async(&self, tensor: TensorIr) -> DynFut<Result<TensorData, ExecutionError>> {
        self.interpreter().read_tensor_async(tensor)
    }

    fn sync(&self) -> Result<(), ExecutionError> {
        self.interpreter().sync()
    }

    fn flush(&self) {}

    fn create_empty_handle(&self) -> TensorId {
        use std::sync::atomic::{AtomicU64, Ordering};

        static NEXT: AtomicU64 = AtomicU64::new(0);
        TensorId::new(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn register_tensor_data(&self, data: TensorData) -> RouterTensor<Self> {
        let (id, shape, dtype) = (
            self.create_empty_handle(),
            data.shape().clone(),
            data.dtype(),
        );
        self.interpreter().register_tensor_data_id(id, data);
        RouterTensor::new(id, shape, dtype, self.clone())
    }

    fn device(&self) -> Cpu {
        self.device
    }

    fn seed(&self, seed: u64) {
        self.interpreter().seed(seed);
    }

    fn dtype_usage(&self, dtype: DType) -> DTypeUsageSet {
        self.interpreter().dtype_usage(dtype)
    }

    fn register_and_execute_graph(&self, _: GraphId, _: Vec<OperationIr>, _: GraphBindings) {
        unreachable!("operations are fused by none");
    }

    fn execute_graph(&self, _: GraphId, _: GraphBindings) {
        unreachable!("operations are fused by none");
    }

    fn register_alias(&self, new: TensorId, source: TensorId) {
        self.interpreter().register_alias(new, source);
    }
}

/// All devices have one memory: a tensor is on each of them.
pub struct Bridge;

impl MultiBackendBridge for Bridge {
    type TensorHandle = HandleKind<Flex>;
    type Device = Cpu;

    fn change_backend_float(tensor: HandleKind<Flex>, _: Shape, _: &Cpu) -> HandleKind<Flex> {
        tensor
    }

    fn change_backend_int(tensor: HandleKind<Flex>, _: Shape, _: &Cpu) -> HandleKind<Flex> {
        tensor
    }

    fn change_backend_bool(tensor: HandleKind<Flex>, _: Shape, _: &Cpu) -> HandleKind<Flex> {
        tensor
    }
}

#[derive(Debug, Clone)]
pub struct Channel;

impl RouterChannel for Channel {
    type Device = Cpu;
    type Bridge = Bridge;
    type Client = Client;

    fn name(_: &Cpu) -> String {
        "flex with an all-reduce".to_owned()
    }

    fn init_client(device: &Cpu) -> Client {
        Client {
            device: *device,
            interpreter: Arc::new(Mutex::new(TensorInterpreter::new(FlexDevice))),
            rounds: Arc::default(),
        }
    }

    fn get_tensor_handle(tensor: &TensorIr, client: &Client) -> HandleKind<Flex> {
        client.interpreter().get_tensor_handle(tensor)
    }

    fn register_tensor(
        client: &Client,
        handle: HandleKind<Flex>,
        shape: Shape,
        dtype: DType,
    ) -> RouterTensor<Client> {
        let id = client.create_empty_handle();
        (client.interpreter()).register_tensor_to_device(id, handle);
        RouterTensor::new(id, shape, dtype, client.clone())
    }
}
