//! One ONNX file as a session: tensors in, tensors out.
//!
//! A graph is run by one thread at a time; ONNX Runtime computes inside with a bounded
//! number of threads of its own. Knows nothing of images or packages.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ndarray::{ArrayD, ArrayViewD, IxDyn};
use ort::{
    ep::{self, ExecutionProviderDispatch},
    session::{
        Session, SessionOutputs,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{TensorElementType, TensorRef, ValueType},
};

use crate::{
    device::Device,
    forest::{Forest, Input, NotTaken},
    runtime::Runtime,
};

/// Why a graph could not be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    #[error("{} is no ONNX graph that ONNX Runtime can run", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: ort::Error,
    },
    #[error(
        "the device {device} cannot be used: this ONNX Runtime has no provider for it, or its driver is missing"
    )]
    Device {
        device: Device,
        #[source]
        source: ort::Error,
    },
    #[error("the graph did not run")]
    Run(#[source] ort::Error),
    #[error("the graph's output \"{name}\" is {found}: expected {expected}")]
    Output { name: String, found: String, expected: &'static str },
}

/// The kinds of numbers that models exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F64,
    Other,
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) element: Element,
    /// -1 where the graph leaves it open.
    pub(crate) shape: Vec<i64>,
}

impl Port {
    fn new(name: &str, kind: &ValueType) -> Self {
        let (element, shape) = match kind {
            ValueType::Tensor { ty, shape, .. } => (Element::from(*ty), shape.to_vec()),
            ValueType::Sequence(_) | ValueType::Map { .. } | ValueType::Optional(_) => {
                (Element::Other, Vec::new())
            }
        };
        Self { name: name.to_owned(), element, shape }
    }

    /// The shape for people: `1×4×?×?`.
    pub(crate) fn shape_text(&self) -> String {
        let side = |side: &i64| if *side < 0 { "?".to_owned() } else { side.to_string() };
        self.shape.iter().map(side).collect::<Vec<_>>().join("×")
    }
}

impl From<TensorElementType> for Element {
    fn from(kind: TensorElementType) -> Self {
        match kind {
            TensorElementType::Float32 => Self::F32,
            TensorElementType::Float64 => Self::F64,
            _ => Self::Other,
        }
    }
}

/// An opened graph.
#[derive(Debug)]
pub(crate) struct Graph {
    path: PathBuf,
    session: Mutex<Session>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Graph {
    pub(crate) fn open(
        runtime: &Runtime,
        path: &Path,
        device: Device,
        threads: NonZeroUsize,
    ) -> Result<Self, GraphError> {
        let unusable = |source| GraphError::Open { path: path.to_owned(), source };
        let mut builder = builder(runtime, threads).map_err(unusable)?;
        if let Some(provider) = provider(device) {
            builder =
                with_provider(builder, provider).map_err(|source| GraphError::Device { device, source })?;
        }
        let session = builder.commit_from_file(path).map_err(unusable)?;
        let inputs = session.inputs().iter().map(|port| Port::new(port.name(), port.dtype())).collect();
        let outputs = session.outputs().iter().map(|port| Port::new(port.name(), port.dtype())).collect();
        Ok(Self { path: path.to_owned(), session: Mutex::new(session), inputs, outputs })
    }

    pub(crate) fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    pub(crate) fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    pub(crate) fn output(&self, name: &str) -> Option<&Port> {
        self.outputs.iter().find(|port| port.name == name)
    }

    pub(crate) fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Runs on `tensor` and gives `read` the one output named `output`, without a copy.
    pub(crate) fn run_one<T>(
        &self,
        input: &str,
        tensor: ArrayViewD<'_, f32>,
        output: &str,
        read: impl FnOnce(ArrayViewD<'_, f32>) -> T,
    ) -> Result<T, GraphError> {
        let tensor = TensorRef::from_array_view(tensor).map_err(GraphError::Run)?;
        let mut session = self.lock();
        let outputs = session.run(ort::inputs![input => tensor]).map_err(GraphError::Run)?;
        Ok(read(view(&outputs, output)?))
    }

    /// Runs on `tensor` and copies out several outputs.
    pub(crate) fn run_many(
        &self,
        input: &str,
        tensor: ArrayViewD<'_, f32>,
        wanted: &[&str],
    ) -> Result<Vec<ArrayD<f32>>, GraphError> {
        let tensor = TensorRef::from_array_view(tensor).map_err(GraphError::Run)?;
        let mut session = self.lock();
        let outputs = session.run(ort::inputs![input => tensor]).map_err(GraphError::Run)?;
        wanted.iter().map(|name| Ok(view(&outputs, name)?.to_owned())).collect()
    }

    /// Runs rows of numbers in the width that the graph wants, and widens what comes back.
    pub(crate) fn run_rows(
        &self,
        input: &str,
        rows: ArrayViewD<'_, f64>,
        output: &str,
    ) -> Result<ArrayD<f64>, GraphError> {
        let narrow = self.input(input).is_some_and(|port| port.element == Element::F32);
        let mut session = self.lock();
        let outputs = if narrow {
            let rows = rows.mapv(|value| value as f32);
            let tensor = TensorRef::from_array_view(&rows).map_err(GraphError::Run)?;
            session.run(ort::inputs![input => tensor]).map_err(GraphError::Run)?
        } else {
            let tensor = TensorRef::from_array_view(rows).map_err(GraphError::Run)?;
            session.run(ort::inputs![input => tensor]).map_err(GraphError::Run)?
        };
        widened(&outputs, output)
    }

    /// The graph as a forest from `input` to `output`, where it is one that can be computed without a session.
    pub(crate) fn as_forest(&self, input: &str, output: &str) -> Result<Forest, NotTaken> {
        let unknown = || NotTaken::new("its input is none that a forest takes");
        let port = self.input(input).ok_or_else(unknown)?;
        let narrow = match port.element {
            Element::F32 => true,
            Element::F64 => false,
            Element::Other => return Err(unknown()),
        };
        let columns = port.shape.get(1).and_then(|columns| usize::try_from(*columns).ok()).unwrap_or(0);
        let file =
            std::fs::read(&self.path).map_err(|_| NotTaken::new("its file could not be read again"))?;
        Forest::read(&file, &Input { name: input, columns, narrow }, output)
    }

    /// A panic in a run leaves the session as it was: nothing of ours changes in it.
    fn lock(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn builder(runtime: &Runtime, threads: NonZeroUsize) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(runtime.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_deterministic_compute(true)?
        .with_intra_threads(threads.get())?
        // A server does not keep cores busy between jobs.
        .with_intra_op_spinning(false)?)
}

/// The provider must take the session: falling back to the CPU in silence would hide a wrong configuration.
fn with_provider(
    builder: SessionBuilder,
    provider: ExecutionProviderDispatch,
) -> ort::Result<SessionBuilder> {
    Ok(builder.with_execution_providers([provider.error_on_failure()])?)
}

fn provider(device: Device) -> Option<ExecutionProviderDispatch> {
    match device {
        Device::Cpu => None,
        Device::Cuda(number) => Some(ep::CUDA::default().with_device_id(number.into()).build()),
        Device::TensorRt(number) => Some(ep::TensorRT::default().with_device_id(number.into()).build()),
        Device::OpenVino => Some(ep::OpenVINO::default().build()),
    }
}

fn view<'a>(outputs: &'a SessionOutputs<'_>, name: &str) -> Result<ArrayViewD<'a, f32>, GraphError> {
    let missing =
        |found: String| GraphError::Output { name: name.to_owned(), found, expected: "a float32 tensor" };
    let value = outputs.get(name).ok_or_else(|| missing("not there".to_owned()))?;
    value.try_extract_array::<f32>().map_err(|error| missing(error.message().to_owned()))
}

fn widened(outputs: &SessionOutputs<'_>, name: &str) -> Result<ArrayD<f64>, GraphError> {
    let wrong = |found: String| GraphError::Output {
        name: name.to_owned(),
        found,
        expected: "a float64 or float32 tensor",
    };
    let value = outputs.get(name).ok_or_else(|| wrong("not there".to_owned()))?;
    if let Ok(array) = value.try_extract_array::<f64>() {
        return Ok(array.to_owned());
    }
    let array = value.try_extract_array::<f32>().map_err(|error| wrong(error.message().to_owned()))?;
    Ok(array.mapv(f64::from))
}

/// A tensor of `shape` from numbers in C order.
pub(crate) fn tensor(shape: &[usize], numbers: Vec<f32>) -> ArrayD<f32> {
    ArrayD::from_shape_vec(IxDyn(shape), numbers).expect("callers count the numbers by the shape")
}
