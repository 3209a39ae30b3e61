//! Connected pieces of a label map, found by runs of voxels along rows.
//!
//! A run costs a few bytes whatever its length, so memory follows the surface of a
//! structure and not its volume.

use ndarray::Array3;

/// Voxels `first ..= last` of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) slice: usize,
    pub(crate) row: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Run {
    pub(crate) fn len(&self) -> usize {
        self.last - self.first + 1
    }
}

/// Which voxels are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connectivity {
    /// Through faces, edges and corners: 26 neighbours.
    Corners,
    /// Through faces only: 6 neighbours.
    Faces,
    /// Through edges and corners within a slice: 8 neighbours.
    InPlane,
}

/// The runs of each connected piece, in the order of their first voxel.
pub(crate) fn pieces(
    labels: &Array3<u8>,
    belongs: impl Fn(u8) -> bool,
    connectivity: Connectivity,
) -> Vec<Vec<Run>> {
    let (runs, rows) = runs(labels, belongs);
    let mut forest = Forest::new(runs.len());
    let (slices, height, _) = labels.dim();
    for slice in 0..slices {
        for row in 0..height {
            let here = rows[slice * height + row].clone();
            for (ds, dr) in earlier(connectivity) {
                let (Some(s), Some(r)) = (slice.checked_sub(*ds), row.checked_add_signed(*dr)) else {
                    continue;
                };
                if r < height {
                    join(&runs, here.clone(), rows[s * height + r].clone(), reach(connectivity), &mut forest);
                }
            }
        }
    }
    collect(&runs, &mut forest)
}

/// Rows that come before a row and touch it: (slices back, rows on).
fn earlier(connectivity: Connectivity) -> &'static [(usize, isize)] {
    match connectivity {
        Connectivity::Corners => &[(0, -1), (1, -1), (1, 0), (1, 1)],
        Connectivity::Faces => &[(0, -1), (1, 0)],
        Connectivity::InPlane => &[(0, -1)],
    }
}

/// How far runs of neighbouring rows may be apart and still touch.
fn reach(connectivity: Connectivity) -> usize {
    match connectivity {
        Connectivity::Corners | Connectivity::InPlane => 1,
        Connectivity::Faces => 0,
    }
}

/// All runs, and which of them lie in each row.
fn runs(labels: &Array3<u8>, belongs: impl Fn(u8) -> bool) -> (Vec<Run>, Vec<std::ops::Range<usize>>) {
    let (slices, height, width) = labels.dim();
    let mut runs = Vec::new();
    let mut rows = Vec::with_capacity(slices * height);
    for slice in 0..slices {
        for row in 0..height {
            let begin = runs.len();
            let mut first = None;
            for column in 0..=width {
                let inside = column < width && belongs(labels[[slice, row, column]]);
                match (inside, first) {
                    (true, None) => first = Some(column),
                    (false, Some(start)) => {
                        runs.push(Run { slice, row, first: start, last: column - 1 });
                        first = None;
                    }
                    (true, Some(_)) | (false, None) => {}
                }
            }
            rows.push(begin..runs.len());
        }
    }
    (runs, rows)
}

/// Joins the runs of two rows that touch. Both rows are sorted.
fn join(
    runs: &[Run],
    here: std::ops::Range<usize>,
    there: std::ops::Range<usize>,
    reach: usize,
    forest: &mut Forest,
) {
    let (mut one, mut other) = (here.start, there.start);
    while one < here.end && other < there.end {
        let (a, b) = (runs[one], runs[other]);
        if a.first <= b.last + reach && b.first <= a.last + reach {
            forest.join(one, other);
        }
        if a.last < b.last {
            one += 1;
        } else {
            other += 1;
        }
    }
}

fn collect(runs: &[Run], forest: &mut Forest) -> Vec<Vec<Run>> {
    let mut place = vec![usize::MAX; runs.len()];
    let mut pieces: Vec<Vec<Run>> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let root = forest.root(number);
        if place[root] == usize::MAX {
            place[root] = pieces.len();
            pieces.push(Vec::new());
        }
        pieces[place[root]].push(*run);
    }
    pieces
}

/// Disjoint sets; the root of a set is its smallest member.
struct Forest(Vec<usize>);

impl Forest {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn root(&mut self, mut member: usize) -> usize {
        while self.0[member] != member {
            // Halves the path for the next one who asks.
            self.0[member] = self.0[self.0[member]];
            member = self.0[member];
        }
        member
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(voxels: &[[usize; 3]], connectivity: Connectivity) -> usize {
        let mut labels = Array3::zeros((4, 5, 6));
        voxels.iter().for_each(|at| labels[*at] = 1);
        pieces(&labels, |label| label == 1, connectivity).len()
    }

    #[test]
    fn neighbours_are_those_that_the_connectivity_names() {
        let corner = [[0, 0, 0], [1, 1, 1]];
        assert_eq!(count(&corner, Connectivity::Corners), 1);
        assert_eq!(count(&corner, Connectivity::Faces), 2);
        assert_eq!(count(&[[0, 1, 1], [0, 0, 2]], Connectivity::InPlane), 1);
        assert_eq!(count(&[[0, 1, 1], [1, 1, 1]], Connectivity::InPlane), 2);
        assert_eq!(count(&[[1, 2, 3], [0, 3, 4]], Connectivity::Corners), 1);
        assert_eq!(count(&[[0, 0, 0], [0, 0, 2]], Connectivity::Corners), 2);
    }

    #[test]
    fn arms_that_meet_late_are_one_piece() {
        let u = [[0, 0, 0], [0, 1, 0], [0, 2, 0], [0, 2, 1], [0, 2, 2], [0, 1, 2], [0, 0, 2], [3, 4, 5]];
        let mut labels = Array3::zeros((4, 5, 6));
        u.iter().for_each(|at| labels[*at] = 7);
        let found = pieces(&labels, |label| label == 7, Connectivity::Faces);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].iter().map(Run::len).sum::<usize>(), 7);
    }
}
