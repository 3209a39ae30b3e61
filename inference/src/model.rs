//! A package in service: its graphs opened and held against the description.

pub(crate) mod ports;

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use ndarray::{ArrayD, ArrayViewD, Axis, Slice};

use crate::{
    contributions::Explainer,
    control::Control,
    device::{Device, Gate},
    error::InferenceError,
    forest::{Forest, NotTaken},
    graph::{Graph, GraphError},
    package::{Fusion, Package, Task},
    runtime::Runtime,
    sliding::WindowModel,
};

/// Why a package cannot be put in service.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error("{} does not fit model.toml: {problem}", file.display())]
    Mismatch { file: PathBuf, problem: String },
}

/// A model that can be run. One session for each of its weights; runs take turns.
#[derive(Debug)]
pub struct Model {
    package: Package,
    graphs: Vec<Graph>,
    /// For each graph of a model of rows: the forest that it is, or why ONNX Runtime runs it.
    forests: Vec<Result<Forest, NotTaken>>,
    /// What tells the contributions of columns, once somebody has asked; or why it cannot.
    explainer: OnceLock<Result<Explainer, String>>,
    gate: Arc<Gate>,
    device: Device,
}

impl Model {
    /// Opens the weights of `package` on `device`; each session computes with at most `threads` threads.
    ///
    /// # Errors
    /// When a file is no graph, the device cannot be used, or the graph is not what the package describes.
    pub fn open(
        runtime: &Runtime,
        package: Package,
        device: Device,
        threads: NonZeroUsize,
    ) -> Result<Self, ModelError> {
        let (mut graphs, mut forests) = (Vec::new(), Vec::new());
        for weights in &package.weights {
            let file = package.dir.join(&weights.file);
            let graph = Graph::open(runtime, &file, device, threads)?;
            ports::check(&graph, &package.task).map_err(|problem| ModelError::Mismatch { file, problem })?;
            if let Task::Tabular(table) | Task::Fusion(Fusion { table, .. }) = &package.task {
                forests.push(graph.as_forest(&table.input_tensor, &table.output_tensor));
            }
            graphs.push(graph);
        }
        Ok(Self { package, graphs, forests, explainer: OnceLock::new(), gate: runtime.gate(device), device })
    }

    pub fn package(&self) -> &Package {
        &self.package
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// The names and shapes of what goes in and comes out, for people: `input 1×1×64×64×64`.
    pub fn ports(&self) -> (Vec<String>, Vec<String>) {
        let describe = |port: &crate::graph::Port| format!("{} {}", port.name, port.shape_text());
        let graph = &self.graphs[0];
        (graph.inputs().iter().map(describe).collect(), graph.outputs().iter().map(describe).collect())
    }

    /// Whether rows are computed in process, so that an answer waits for no device.
    pub fn computes_rows_in_process(&self) -> bool {
        !self.forests.is_empty() && self.forests.iter().all(Result::is_ok)
    }

    /// What computes, for people: ONNX Runtime, or our own evaluation of trees, and why not.
    pub fn computed_by(&self) -> String {
        let runtime = format!("ONNX Runtime on {}", self.device);
        let told = |forest: &Result<Forest, NotTaken>| match forest {
            Ok(forest) => format!("{} trees in process, with the bits of ONNX Runtime", forest.trees()),
            Err(reason) => format!("{runtime}: {reason}"),
        };
        match self.forests.as_slice() {
            [] => runtime,
            forests => forests.iter().map(told).collect::<Vec<_>>().join("; "),
        }
    }

    /// The forest of a model that is one.
    pub(crate) fn only_forest(&self) -> Result<&Forest, String> {
        match self.forests.as_slice() {
            [Ok(forest)] => Ok(forest),
            [Err(reason)] => Err(format!("{} is not explained: {reason}", self.package.id)),
            _ => Err(format!("{} is not explained: it is an ensemble of several graphs", self.package.id)),
        }
    }

    pub(crate) fn explainer_cell(&self) -> &OnceLock<Result<Explainer, String>> {
        &self.explainer
    }

    pub(crate) fn wrong_task(&self, wanted: &'static str) -> InferenceError {
        InferenceError::WrongTask { model: self.package.id.clone(), task: self.package.task.name(), wanted }
    }

    /// The graph that explains; members of an ensemble agree closely enough for a picture.
    pub(crate) fn first_graph(&self) -> &Graph {
        &self.graphs[0]
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Names of the image input and output, and the tensor axes to flip.
    fn image_ports(&self) -> Result<ImagePorts<'_>, InferenceError> {
        match &self.package.task {
            Task::Segmentation(spec) => Ok(ImagePorts {
                input: &spec.input.tensor,
                output: &spec.output.tensor,
                flips: ports::tensor_flips(&spec.input, &spec.output.flips),
            }),
            Task::Classification(spec) => Ok(ImagePorts {
                input: &spec.input.tensor,
                output: &spec.output.tensor,
                flips: ports::tensor_flips(&spec.input, &spec.output.flips),
            }),
            Task::Tabular(_) | Task::Fusion(_) => Err(self.wrong_task("images")),
        }
    }

    /// The mean of the ensemble's own outputs, nothing flipped.
    pub(crate) fn raw_mean(
        &self,
        input: &str,
        tensor: ArrayViewD<'_, f32>,
        output: &str,
    ) -> Result<ArrayD<f32>, InferenceError> {
        let _turn = self.gate.enter(crate::control::Urgency::Background);
        self.mean_output(&ImagePorts { input, output, flips: Vec::new() }, &tensor)
    }

    /// The mean output over the ensemble and all combinations of flips.
    fn mean_output(
        &self,
        ports: &ImagePorts<'_>,
        window: &ArrayViewD<'_, f32>,
    ) -> Result<ArrayD<f32>, InferenceError> {
        let mut sum: Option<ArrayD<f32>> = None;
        let mut count = 0.0_f32;
        for graph in &self.graphs {
            for chosen in combinations(&ports.flips) {
                let flipped = flipped(window.view(), &chosen).as_standard_layout().into_owned();
                let output = graph.run_one(ports.input, flipped.view(), ports.output, |output| {
                    // A score has no axes to flip back.
                    if output.ndim() == window.ndim() {
                        flipped_back(output, &chosen)
                    } else {
                        output.to_owned()
                    }
                })?;
                count += 1.0;
                sum = Some(match sum {
                    None => output,
                    Some(sum) if sum.shape() == output.shape() => sum + output,
                    Some(sum) => {
                        let (found, expected) = (output.shape().to_vec(), sum.shape().to_vec());
                        return Err(InferenceError::OutputShape { found, expected });
                    }
                });
            }
        }
        let sum = sum.expect("a package has at least one graph and one combination: no flip");
        Ok(sum / count)
    }
}

struct ImagePorts<'a> {
    input: &'a str,
    output: &'a str,
    /// Axes of the tensor.
    flips: Vec<usize>,
}

impl WindowModel for Model {
    fn run(
        &self,
        window: ArrayViewD<'_, f32>,
        control: &Control<'_>,
        read: &mut dyn FnMut(ArrayViewD<'_, f32>) -> Result<(), InferenceError>,
    ) -> Result<(), InferenceError> {
        let ports = self.image_ports()?;
        let _turn = self.gate.enter(control.urgency);
        match self.graphs.as_slice() {
            [graph] if ports.flips.is_empty() => {
                graph.run_one(ports.input, window, ports.output, |output| read(output))?
            }
            _ => read(self.mean_output(&ports, &window)?.view()),
        }
    }
}

impl Model {
    /// Rows in, the graph's output out, mean over the ensemble.
    pub(crate) fn run_rows(
        &self,
        input: &str,
        rows: &ArrayD<f64>,
        output: &str,
    ) -> Result<ArrayD<f64>, InferenceError> {
        self.mean_rows(|member| {
            match self.forests.get(member).and_then(|forest| forest.as_ref().ok()?.run(rows.view())) {
                Some(answers) => Ok(answers),
                None => self.run_rows_in_session(member, input, rows, output),
            }
        })
    }

    /// The same by ONNX Runtime, whatever the graph is.
    pub(crate) fn run_rows_in_sessions(
        &self,
        input: &str,
        rows: &ArrayD<f64>,
        output: &str,
    ) -> Result<ArrayD<f64>, InferenceError> {
        self.mean_rows(|member| self.run_rows_in_session(member, input, rows, output))
    }

    /// Only a session takes the device; rows that are computed in process wait for nobody.
    fn run_rows_in_session(
        &self,
        member: usize,
        input: &str,
        rows: &ArrayD<f64>,
        output: &str,
    ) -> Result<ArrayD<f64>, InferenceError> {
        let _turn = self.gate.enter(crate::control::Urgency::Interactive);
        Ok(self.graphs[member].run_rows(input, rows.view(), output)?)
    }

    fn mean_rows(
        &self,
        run: impl Fn(usize) -> Result<ArrayD<f64>, InferenceError>,
    ) -> Result<ArrayD<f64>, InferenceError> {
        let mut sum = run(0)?;
        for member in 1..self.graphs.len() {
            let output = run(member)?;
            if output.shape() != sum.shape() {
                let (found, expected) = (output.shape().to_vec(), sum.shape().to_vec());
                return Err(InferenceError::OutputShape { found, expected });
            }
            sum += &output;
        }
        // One member is not divided: its bits are the answer.
        if self.graphs.len() > 1 {
            sum /= self.graphs.len() as f64;
        }
        Ok(sum)
    }
}

/// All subsets of `axes`, the empty one first.
fn combinations(axes: &[usize]) -> Vec<Vec<usize>> {
    let subset = |mask: usize| {
        axes.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, axis)| *axis).collect()
    };
    (0..1_usize << axes.len()).map(subset).collect()
}

fn flipped<'a>(mut tensor: ArrayViewD<'a, f32>, axes: &[usize]) -> ArrayViewD<'a, f32> {
    for axis in axes {
        tensor.slice_axis_inplace(Axis(*axis), Slice::new(0, None, -1));
    }
    tensor
}

fn flipped_back(output: ArrayViewD<'_, f32>, axes: &[usize]) -> ArrayD<f32> {
    flipped(output, axes).to_owned()
}
