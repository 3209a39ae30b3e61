//! The longest line inside one slice, and the longest at a right angle to it.
//!
//! Lines join voxel centres of one connected piece of a source slice: two lesions side by
//! side are not measured as one. The ends of a piece's longest line are corners of its
//! convex hull, so only hulls are searched.

use imaging::{Grid, LabelMap};

use crate::{
    findings::Diameter,
    pieces::{Connectivity, Run, pieces},
};

/// Column and row of a voxel.
type Pixel = [usize; 2];

/// The longest diameter of the label and its perpendicular; none when the label is not there.
pub(super) fn diameters(map: &LabelMap, value: u8) -> Option<[Diameter; 2]> {
    let [across, down, _] = map.grid.spacing();
    let mut longest: Option<(f64, [Pixel; 2], Vec<Run>)> = None;
    for piece in pieces(&map.labels, |label| label == value, Connectivity::InPlane) {
        let ends = farthest(&hull(&piece), [across, down]);
        let length = distance(ends, [across, down]);
        if longest.as_ref().is_none_or(|(best, _, _)| length > *best) {
            longest = Some((length, ends, piece));
        }
    }
    let (_, ends, piece) = longest?;
    let slice = piece[0].slice;
    let perpendicular = perpendicular(&piece, ends, [across, down]);
    Some([line(&map.grid, ends, slice), line(&map.grid, perpendicular, slice)])
}

fn line(grid: &Grid, ends: [Pixel; 2], slice: usize) -> Diameter {
    let ends = ends.map(|[column, row]| [column, row, slice]);
    let ends_lps = ends.map(|end| grid.point(end.map(|index| index as f64)));
    let length = (0..3).map(|axis| (ends_lps[1][axis] - ends_lps[0][axis]).powi(2)).sum::<f64>();
    Diameter { length_mm: length.sqrt(), ends_lps, ends }
}

fn distance([one, other]: [Pixel; 2], spacing: [f64; 2]) -> f64 {
    let along = |axis: usize| (other[axis] as f64 - one[axis] as f64) * spacing[axis];
    along(0).hypot(along(1))
}

/// The corners of the convex hull (Andrew's monotone chain over the ends of the rows).
fn hull(piece: &[Run]) -> Vec<Pixel> {
    let mut pixels =
        piece.iter().flat_map(|run| [[run.first, run.row], [run.last, run.row]]).collect::<Vec<_>>();
    pixels.sort_unstable();
    pixels.dedup();
    if pixels.len() < 3 {
        return pixels;
    }
    let mut corners = half_hull(pixels.iter());
    corners.pop();
    corners.extend(half_hull(pixels.iter().rev()));
    corners.pop();
    corners
}

fn half_hull<'a>(pixels: impl Iterator<Item = &'a Pixel>) -> Vec<Pixel> {
    let mut corners: Vec<Pixel> = Vec::new();
    for pixel in pixels {
        while let [.., one, other] = corners.as_slice()
            && turn(*one, *other, *pixel) <= 0
        {
            corners.pop();
        }
        corners.push(*pixel);
    }
    corners
}

/// Positive when the way from `a` over `b` to `c` turns left.
fn turn(a: Pixel, b: Pixel, c: Pixel) -> i64 {
    let [ax, ay, bx, by, cx, cy] = [a[0], a[1], b[0], b[1], c[0], c[1]].map(|index| index as i64);
    (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
}

fn farthest(corners: &[Pixel], spacing: [f64; 2]) -> [Pixel; 2] {
    let mut best = [corners[0]; 2];
    for (number, one) in corners.iter().enumerate() {
        for other in &corners[number + 1..] {
            if distance([*one, *other], spacing) > distance(best, spacing) {
                best = [*one, *other];
            }
        }
    }
    best
}

/// The longest line of the piece that crosses `ends` at a right angle, to within half a voxel.
fn perpendicular(piece: &[Run], ends: [Pixel; 2], spacing: [f64; 2]) -> [Pixel; 2] {
    let length = distance(ends, spacing);
    if length == 0.0 {
        return ends;
    }
    let direction = [0, 1].map(|axis| (ends[1][axis] as f64 - ends[0][axis] as f64) * spacing[axis] / length);
    let place = |pixel: Pixel| {
        let [x, y] = [pixel[0] as f64 * spacing[0], pixel[1] as f64 * spacing[1]];
        (x * direction[0] + y * direction[1], y * direction[0] - x * direction[1])
    };
    // Pixels at the same place along the long line, to within the width of a voxel seen from there.
    let width = (direction[0] * spacing[0]).abs().max((direction[1] * spacing[1]).abs());
    let mut across: std::collections::BTreeMap<i64, [(f64, Pixel); 2]> = std::collections::BTreeMap::new();
    for pixel in piece.iter().flat_map(|run| (run.first..=run.last).map(|column| [column, run.row])) {
        let (along, aside) = place(pixel);
        let bin = across.entry((along / width).round() as i64).or_insert([(aside, pixel); 2]);
        if aside < bin[0].0 {
            bin[0] = (aside, pixel);
        }
        if aside > bin[1].0 {
            bin[1] = (aside, pixel);
        }
    }
    let mut best = [(0.0, ends[0]); 2];
    for bin in across.into_values() {
        if bin[1].0 - bin[0].0 > best[1].0 - best[0].0 {
            best = bin;
        }
    }
    best.map(|(_, pixel)| pixel)
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;
    use proptest::prelude::*;

    use super::*;

    fn map(inside: impl Fn(usize, usize) -> bool) -> LabelMap {
        let (columns, rows) = (60, 40);
        let affine = [[0.5, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let grid = Grid::from_affine([columns, rows, 1], affine);
        let labels =
            Array3::from_shape_fn((1, rows, columns), |(_, row, column)| u8::from(inside(column, row)));
        LabelMap { grid, labels }
    }

    #[test]
    fn an_ellipse_has_its_axes() {
        // Half axes 12 mm along columns, 6 mm along rows.
        let map = map(|column, row| {
            let (x, y) = ((column as f64 - 30.0) * 0.5, row as f64 - 20.0);
            (x / 12.0).powi(2) + (y / 6.0).powi(2) <= 1.0
        });
        let [long, short] = diameters(&map, 1).unwrap();
        assert!((long.length_mm - 24.0).abs() <= 0.5, "{long:?}");
        assert!((short.length_mm - 12.0).abs() <= 1.0, "{short:?}");
    }

    #[test]
    fn two_lesions_are_not_measured_as_one() {
        let map = map(|column, row| row == 5 && !(9..=50).contains(&column));
        assert_eq!(diameters(&map, 1).unwrap()[0].length_mm, 4.0);
    }

    #[test]
    fn a_single_voxel_has_no_length() {
        let [long, short] = diameters(&map(|column, row| (column, row) == (3, 4)), 1).unwrap();
        assert_eq!((long.length_mm, short.length_mm), (0.0, 0.0));
        assert_eq!(long.ends, [[3, 4, 0]; 2]);
    }

    proptest! {
        #[test]
        fn the_hull_finds_what_all_pairs_find(pixels in proptest::collection::btree_set((0..12_usize, 0..12_usize), 1..60)) {
            let runs = pixels.iter().map(|(row, column)| Run { slice: 0, row: *row, first: *column, last: *column });
            let runs = runs.collect::<Vec<_>>();
            let all = pixels.iter().map(|(row, column)| [*column, *row]).collect::<Vec<_>>();
            let spacing = [0.7, 1.3];
            let by_hull = distance(farthest(&hull(&runs), spacing), spacing);
            prop_assert!((by_hull - distance(farthest(&all, spacing), spacing)).abs() < 1e-12);
        }
    }
}
