//! Fusions that wait for each other.

use std::path::PathBuf;

use super::answers_to;
use crate::package::{Package, Task};

/// The folders of models that, by way of others, need their own findings, with the way round.
pub(super) fn circles(packages: &[&Package]) -> Vec<(PathBuf, String)> {
    let needs = packages.iter().map(|package| needed(package, packages)).collect::<Vec<_>>();
    let mut found = Vec::new();
    for (start, package) in packages.iter().enumerate() {
        if let Some(way) = way_back(start, &needs) {
            let names = way.iter().map(|place| packages[*place].id.to_string()).collect::<Vec<_>>();
            found.push((package.dir.clone(), names.join(" → ")));
        }
    }
    found
}

/// The places of the packages whose findings `package` takes.
fn needed(package: &Package, packages: &[&Package]) -> Vec<usize> {
    let Task::Fusion(fusion) = &package.task else { return Vec::new() };
    let names = |place: &usize| fusion.parts.iter().any(|part| answers_to(packages[*place], &part.model));
    (0..packages.len()).filter(names).collect()
}

/// The shortest way from `start` along needs back to itself.
fn way_back(start: usize, needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut seen = vec![false; needs.len()];
    let mut ways = std::collections::VecDeque::from([vec![start]]);
    while let Some(way) = ways.pop_front() {
        for next in &needs[*way.last()?] {
            let longer = [way.as_slice(), &[*next]].concat();
            if *next == start {
                return Some(longer);
            }
            if !std::mem::replace(&mut seen[*next], true) {
                ways.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_way_round_is_named() {
        let needs = [vec![1, 2], vec![3], vec![0], vec![0], vec![0]];
        assert_eq!(way_back(0, &needs), Some(vec![0, 2, 0]));
        assert_eq!(way_back(4, &needs), None, "it needs a circle but is not in it");
    }
}
