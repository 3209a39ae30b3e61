//! The steps that turn modality units into what a graph was trained on.

use super::{
    PackageError,
    manifest::{Field, Section},
};

/// Which voxels count, and are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    All,
    /// Those that are not exactly 0.
    Nonzero,
}

/// One step; they are applied in the order of the list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Intensity {
    Window { center: f64, width: f64 },
    Clip { min: f64, max: f64 },
    PercentileClip { low: f64, high: f64, over: Over },
    ZScore { over: Over },
    MinMax { over: Over },
    Scale { subtract: f64, divide: f64 },
}

#[derive(Clone, Copy)]
enum Kind {
    Window,
    Clip,
    PercentileClip,
    ZScore,
    MinMax,
    Scale,
}

impl Intensity {
    pub(super) fn read_all(channel: &Section<'_>) -> Result<Vec<Self>, PackageError> {
        let Some(field) = channel.optional("intensity") else { return Ok(Vec::new()) };
        field.list()?.iter().map(Self::read).collect()
    }

    fn read(field: &Field<'_>) -> Result<Self, PackageError> {
        let section = field.section()?;
        let kind = section.required("kind", "the name of a step")?.choice(&[
            ("window", Kind::Window),
            ("clip", Kind::Clip),
            ("percentile-clip", Kind::PercentileClip),
            ("z-score", Kind::ZScore),
            ("min-max", Kind::MinMax),
            ("scale", Kind::Scale),
        ])?;
        let number = |key| section.required(key, "a number")?.number();
        let step = match kind {
            Kind::Window => Self::Window { center: number("center")?, width: number("width")? },
            Kind::Clip => Self::Clip { min: number("min")?, max: number("max")? },
            Kind::PercentileClip => {
                Self::PercentileClip { low: number("low")?, high: number("high")?, over: over(&section)? }
            }
            Kind::ZScore => Self::ZScore { over: over(&section)? },
            Kind::MinMax => Self::MinMax { over: over(&section)? },
            Kind::Scale => Self::Scale {
                subtract: section.number_or("subtract", 0.0)?,
                divide: section.number_or("divide", 1.0)?,
            },
        };
        section.done()?;
        step.check(field)?;
        Ok(step)
    }

    fn check(&self, field: &Field<'_>) -> Result<(), PackageError> {
        let problem = match *self {
            Self::Window { width, .. } if width <= 0.0 => format!("`width` is {width}: expected more than 0"),
            Self::Clip { min, max } if min >= max => format!("`min` {min} is not below `max` {max}"),
            Self::PercentileClip { low, high, .. } if !(0.0 <= low && low < high && high <= 100.0) => {
                format!("`low` {low} and `high` {high} are no percentiles: expected 0 ≤ low < high ≤ 100")
            }
            Self::Scale { divide: 0.0, .. } => "`divide` is 0".to_owned(),
            _ => return Ok(()),
        };
        Err(field.error(format!("`{}`: {problem}", field.name())))
    }
}

fn over(section: &Section<'_>) -> Result<Over, PackageError> {
    section
        .optional("over")
        .map_or(Ok(Over::All), |field| field.choice(&[("all", Over::All), ("nonzero", Over::Nonzero)]))
}
