//! Holds a graph's inputs and outputs against what the package says of them.

use crate::{
    graph::{Element, Graph, Port},
    package::{CamWeights, Explain, ImageInput, Layout, TabularSpec, Task, TensorAxes},
};

/// The problem in words, when there is one.
pub(super) fn check(graph: &Graph, task: &Task) -> Result<(), String> {
    match task {
        Task::Segmentation(spec) => {
            let roi = spec.window.as_ref().map(|window| in_tensor_order(&spec.input, window.roi));
            check_image_input(graph, &spec.input, roi)?;
            let output = output(graph, &spec.output.tensor)?;
            check_rank(output, rank(&spec.input))?;
            let needed = spec.output.channels_min();
            match output.shape.get(1) {
                Some(classes) if *classes >= 0 && (*classes as usize) < needed => Err(format!(
                    "the output \"{}\" is {}: the labels need {needed} channels",
                    output.name,
                    output.shape_text()
                )),
                _ => Ok(()),
            }
        }
        Task::Classification(spec) => {
            check_image_input(graph, &spec.input, None)?;
            let output = output(graph, &spec.output.tensor)?;
            let classes = spec.output.classes.len();
            check_rank(output, 2)?;
            if let Some(found) =
                output.shape.get(1).filter(|found| **found >= 0 && **found as usize != classes)
            {
                return Err(format!(
                    "the output \"{}\" has {found} scores: {classes} classes are described",
                    output.name
                ));
            }
            spec.explain.as_ref().map_or(Ok(()), |explain| check_explain(graph, explain))
        }
        Task::Tabular(table) => check_table(graph, table),
        Task::Fusion(fusion) => check_table(graph, &fusion.table),
    }
}

/// x, y, z in the order of the tensor.
pub(crate) fn in_tensor_order(input: &ImageInput, [x, y, z]: [usize; 3]) -> [usize; 3] {
    match input.tensor_axes {
        TensorAxes::Zyx => [z, y, x],
        TensorAxes::Xyz => [x, y, z],
    }
}

/// The axes of the tensor that belong to x, y, z (0, 1, 2).
pub(super) fn tensor_flips(input: &ImageInput, axes: &[usize]) -> Vec<usize> {
    let place = |axis: usize| match (input.layout, input.tensor_axes) {
        (Layout::Volume, TensorAxes::Zyx) => 4 - axis,
        (Layout::Volume, TensorAxes::Xyz) | (Layout::Slices { .. }, TensorAxes::Xyz) => 2 + axis,
        (Layout::Slices { .. }, TensorAxes::Zyx) => 3 - axis,
    };
    let within = |axis: &usize| matches!(input.layout, Layout::Volume) || *axis < 2;
    axes.iter().copied().filter(within).map(place).collect()
}

fn rank(input: &ImageInput) -> usize {
    match input.layout {
        Layout::Volume => 5,
        Layout::Slices { .. } => 4,
    }
}

fn names(ports: &[Port]) -> String {
    ports.iter().map(|port| format!("\"{}\"", port.name)).collect::<Vec<_>>().join(", ")
}

fn input<'a>(graph: &'a Graph, name: &str) -> Result<&'a Port, String> {
    let port = graph
        .input(name)
        .ok_or_else(|| format!("it has no input \"{name}\": its inputs are {}", names(graph.inputs())))?;
    if graph.inputs().len() > 1 {
        return Err(format!(
            "it has {} inputs ({}): expected one",
            graph.inputs().len(),
            names(graph.inputs())
        ));
    }
    Ok(port)
}

fn output<'a>(graph: &'a Graph, name: &str) -> Result<&'a Port, String> {
    graph
        .output(name)
        .ok_or_else(|| format!("it has no output \"{name}\": its outputs are {}", names(graph.outputs())))
}

fn check_rank(port: &Port, rank: usize) -> Result<(), String> {
    if port.element == Element::Other {
        return Err(format!("\"{}\" is no tensor of float32 or float64 numbers", port.name));
    }
    if port.shape.len() == rank || port.shape.is_empty() {
        Ok(())
    } else {
        Err(format!("\"{}\" is {}, {} axes: expected {rank}", port.name, port.shape_text(), port.shape.len()))
    }
}

fn check_image_input(graph: &Graph, spec: &ImageInput, roi: Option<[usize; 3]>) -> Result<(), String> {
    let port = input(graph, &spec.tensor)?;
    if port.element != Element::F32 {
        return Err(format!("the input \"{}\" is not float32", port.name));
    }
    check_rank(port, rank(spec))?;
    let channels = match spec.layout {
        Layout::Volume => spec.channels.len(),
        Layout::Slices { neighbours, .. } => spec.channels.len() * (2 * neighbours + 1),
    };
    let side = |axis: usize, wanted: usize, what: &str| match port.shape.get(axis) {
        Some(found) if *found >= 0 && *found as usize != wanted => Err(format!(
            "the input \"{}\" is {}: the description gives {wanted} {what}",
            port.name,
            port.shape_text()
        )),
        _ => Ok(()),
    };
    side(0, 1, "image at a time")?;
    side(1, channels, "channels")?;
    for (axis, wanted) in roi.into_iter().flatten().enumerate() {
        side(axis + 2, wanted, "voxels along this axis of `window.roi`")?;
    }
    if let Layout::Slices { size: Some([rows, columns]), .. } = spec.layout {
        let sides = match spec.tensor_axes {
            TensorAxes::Zyx => [rows, columns],
            TensorAxes::Xyz => [columns, rows],
        };
        side(2, sides[0], "pixels along this axis of `input.size`")?;
        side(3, sides[1], "pixels along this axis of `input.size`")?;
    }
    Ok(())
}

fn check_explain(graph: &Graph, explain: &Explain) -> Result<(), String> {
    let Explain::GradCam { features, weights } = explain else { return Ok(()) };
    let (CamWeights::Gradients(weights) | CamWeights::HeadWeights(weights)) = weights;
    output(graph, features)?;
    output(graph, weights)?;
    Ok(())
}

fn check_table(graph: &Graph, table: &TabularSpec) -> Result<(), String> {
    let port = input(graph, &table.input_tensor)?;
    check_rank(port, 2)?;
    let columns = table.selected.len();
    if let Some(found) = port.shape.get(1).filter(|found| **found >= 0 && **found as usize != columns) {
        return Err(format!(
            "the input \"{}\" has {found} columns: {columns} features are selected",
            port.name
        ));
    }
    let output = output(graph, &table.output_tensor)?;
    if output.element == Element::Other {
        return Err(format!(
            "the output \"{}\" is no tensor of numbers: export scikit-learn models with `zipmap=False`",
            output.name
        ));
    }
    match (output.shape.get(1), table.output_column) {
        (Some(found), Some(column)) if *found >= 0 && *found as usize <= column => {
            Err(format!("the output \"{}\" has {found} columns: `output.column` is {column}", output.name))
        }
        _ => Ok(()),
    }
}
