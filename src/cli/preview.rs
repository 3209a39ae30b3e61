//! Pictures of what `overread run` found: for each structure the slice that shows most of it.

use imaging::LabelMap;
use inference::{Heatmap, Package, package::Task};
use ndarray::{Array3, ArrayView2, Axis};

use crate::picture::Picture;

/// For a label without a colour of its own.
const COLOR: [u8; 3] = [255, 80, 0];

/// The findings of one run, as far as they can be drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawn<'a> {
    pub(super) package: &'a Package,
    /// [slice, row, column]
    pub(super) voxels: &'a Array3<f32>,
    pub(super) labels: Option<&'a LabelMap>,
    pub(super) heatmap: Option<&'a Heatmap>,
}

/// Names and bytes of PNG files; none where nothing was found.
pub(super) fn previews(drawn: &Drawn<'_>) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    if let (Some(labels), Task::Segmentation(task)) = (drawn.labels, &drawn.package.task) {
        for (number, label) in task.output.labels.iter().enumerate() {
            let Some(slice) = fullest_slice(labels, label.value) else { continue };
            let mut picture = Picture::grey(drawn.voxels.index_axis(Axis(0), slice));
            let found = labels.labels.index_axis(Axis(0), slice);
            for shown in &task.output.labels {
                let color = shown.color.map_or(COLOR, |color| color.0);
                picture.mark(&|row, column| found[[row, column]] == shown.value, color);
            }
            files.push((format!("preview-{}.png", number + 1), finished(picture, drawn.package)?));
        }
    }
    if let Some(heatmap) = drawn.heatmap {
        let (number, heat) = hottest(heatmap);
        let mut picture = Picture::grey(drawn.voxels.index_axis(Axis(0), heatmap.first_slice + number));
        picture.warm(heat);
        files.push(("preview.png".to_owned(), finished(picture, drawn.package)?));
    }
    Ok(files)
}

fn finished(mut picture: Picture, package: &Package) -> anyhow::Result<Vec<u8>> {
    if package.is_demonstration() {
        picture.caption(results::DEMONSTRATION_NOTICE);
    }
    picture.png()
}

/// The slice with most voxels of a label; none when there is no such voxel.
fn fullest_slice(labels: &LabelMap, value: u8) -> Option<usize> {
    let count = |slice: ArrayView2<'_, u8>| slice.iter().filter(|voxel| **voxel == value).count();
    let counts = labels.labels.outer_iter().map(count).enumerate();
    let (slice, count) = counts.max_by_key(|(slice, count)| (*count, usize::MAX - slice))?;
    (count > 0).then_some(slice)
}

fn hottest(heatmap: &Heatmap) -> (usize, ArrayView2<'_, f32>) {
    let slices = heatmap.values.outer_iter().enumerate();
    let hottest = slices.max_by(|(_, one), (_, other)| one.sum().total_cmp(&other.sum()));
    hottest.unwrap_or_else(|| (0, heatmap.values.index_axis(Axis(0), 0)))
}
