//! A forest as what it is before its last function: a number, and one number of each tree.
//!
//! The steps behind the trees are followed with linear forms in place of numbers. What is not linear is taken only as
//! the logistic function at the end; then the sum of the trees is the log-odds, and contributions are in that scale.
//! Sums are those of real numbers: where the graph adds in float32 its own answer differs by that rounding.

use super::{
    Forest, NotTaken,
    ensemble::{Ensemble, Leaf},
    steps::{Arithmetic, Kind, Matrix, Numbers, Operand, Step},
    walk::Orders,
};

/// The scale in which contributions add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    Probability,
    LogOdds,
}

/// How the answer of a forest is put together.
#[derive(Debug)]
pub(crate) struct Additive {
    /// The step that walks the trees.
    at: usize,
    /// By node, in the scale of the sum.
    values: Vec<f64>,
    constant: f64,
    orders: Orders,
    pub(crate) scale: Scale,
}

/// What columns of a row do to its answer, beside other rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Effects {
    /// The mean over the other rows.
    pub(crate) base: f64,
    /// The row's own.
    pub(crate) value: f64,
    /// They add up to the value less the base.
    pub(crate) columns: Vec<f64>,
}

/// A number plus a weighted sum of what the targets of the trees hold.
#[derive(Debug, Clone)]
struct Linear {
    constant: f64,
    weights: Vec<f64>,
}

/// What is known of a value for every row.
enum Form {
    /// A function of the column of the same place alone.
    Rows,
    /// Each target of the trees; a table stands between when there is one.
    Linear(Vec<Linear>),
    /// The exponential of minus the sum, and what is made of it.
    Power,
    Truth,
}

struct Following<'a> {
    forest: &'a Forest,
    forms: Vec<Form>,
    trees: Option<(usize, &'a Ensemble)>,
    table: Option<&'a Numbers>,
    margin: Option<Linear>,
}

fn not() -> NotTaken {
    NotTaken::new("its answer is not a sum over its trees")
}

impl Forest {
    /// The parts that the forest's one answer is the sum of.
    pub(crate) fn additive(&self) -> Result<Additive, NotTaken> {
        let mut following =
            Following { forest: self, forms: vec![Form::Rows], trees: None, table: None, margin: None };
        for step in &self.steps {
            let form = following.form(step)?;
            following.forms.push(form);
        }
        let (at, ensemble) = following.trees.ok_or_else(not)?;
        let (end, scale) = match (following.forms.pop(), following.margin) {
            (Some(Form::Linear(columns)), None) => {
                let [end] = <[Linear; 1]>::try_from(columns).map_err(|_| not())?;
                (end, Scale::Probability)
            }
            (Some(Form::Power), Some(margin)) => (margin, Scale::LogOdds),
            _ => return Err(not()),
        };
        let table = following.table;
        let value = |leaf: Leaf| {
            let weight = *end.weights.get(leaf.target as usize)?;
            Some(weight * term(table, leaf.weight)?)
        };
        let values = ensemble.walk().leaf_values(value).ok_or_else(not)?;
        Ok(Additive { at, values, constant: end.constant, orders: Orders::of(self.columns), scale })
    }

    /// Rows as the trees see them.
    fn seen(&self, additive: &Additive, rows: &[f64]) -> Option<Vec<f32>> {
        let given = if self.narrow {
            Numbers::F32(rows.iter().map(|value| *value as f32).collect())
        } else {
            Numbers::F64(rows.to_vec())
        };
        let mut values = vec![Matrix { width: self.columns, numbers: given }];
        for step in &self.steps[..additive.at] {
            let next = step.run(&values)?;
            values.push(next);
        }
        let Step::Trees(of, _) = &self.steps[additive.at] else { return None };
        match values.into_iter().nth(*of)?.numbers {
            Numbers::F32(numbers) => Some(numbers),
            Numbers::F64(_) | Numbers::I64(_) | Numbers::Truth(_) => None,
        }
    }

    /// What the columns of each row do beside `background`; both hold rows one after another.
    pub(crate) fn effects(
        &self,
        additive: &Additive,
        rows: &[f64],
        background: &[f64],
    ) -> Option<Vec<Effects>> {
        let (rows, others) = (self.seen(additive, rows)?, self.seen(additive, background)?);
        let Step::Trees(_, ensemble) = &self.steps[additive.at] else { return None };
        let others: Vec<&[f32]> = others.chunks(self.columns).collect();
        let count = others.len() as f64;
        let sum = |row: &[f32]| additive.constant + ensemble.walk().sum(&additive.values, row);
        let base = others.iter().map(|other| sum(other)).sum::<f64>() / count;
        let of = |row: &[f32]| {
            let mut columns = vec![0.0; self.columns];
            for other in &others {
                ensemble.walk().add_effects(&additive.values, &additive.orders, [row, other], &mut columns);
            }
            columns.iter_mut().for_each(|effect| *effect /= count);
            Effects { base, value: sum(row), columns }
        };
        (!others.is_empty()).then(|| rows.chunks(self.columns).map(of).collect())
    }
}

/// What a leaf says: its weight, or the number of a table at the place that its weight is.
fn term(table: Option<&Numbers>, weight: f32) -> Option<f64> {
    let place = weight as usize;
    match table {
        None => Some(f64::from(weight)),
        Some(Numbers::F32(numbers)) => numbers.get(place).copied().map(f64::from),
        Some(Numbers::F64(numbers)) => numbers.get(place).copied(),
        Some(Numbers::I64(_) | Numbers::Truth(_)) => None,
    }
}

impl<'a> Following<'a> {
    fn form(&mut self, step: &'a Step) -> Result<Form, NotTaken> {
        match step {
            Step::Trees(of, ensemble) => self.of_trees(*of, ensemble),
            Step::Cast(of, kind) => match &self.forms[*of] {
                Form::Rows => Ok(Form::Rows),
                Form::Power => Ok(Form::Power),
                // Places in a table: what the trees themselves gave.
                Form::Linear(_) if *kind == Kind::I64 => self.same(*of),
                Form::Linear(_) => self.same(*of),
                Form::Truth => Err(not()),
            },
            Step::Lookup(of, table) => {
                if self.table.replace(table).is_some() {
                    return Err(not());
                }
                self.same(*of)
            }
            Step::Columns(of, columns) => {
                let all = self.linear(*of)?;
                let chosen =
                    columns.iter().map(|column| all.get(*column).cloned()).collect::<Option<Vec<_>>>();
                chosen.map(Form::Linear).ok_or_else(not)
            }
            Step::Join(parts) => {
                let parts = parts.iter().map(|part| self.linear(*part)).collect::<Result<Vec<_>, _>>()?;
                Ok(Form::Linear(parts.concat()))
            }
            Step::RunningSum(of) => {
                let mut columns = self.linear(*of)?.to_vec();
                for at in 1..columns.len() {
                    columns[at] = columns[at - 1].plus(&columns[at]);
                }
                Ok(Form::Linear(columns))
            }
            Step::Negate(of) => match &self.forms[*of] {
                Form::Rows => Ok(Form::Rows),
                Form::Linear(columns) => {
                    Ok(Form::Linear(columns.iter().map(|one| one.times(-1.0)).collect()))
                }
                Form::Power | Form::Truth => Err(not()),
            },
            Step::Exponential(of) => self.exponential(*of),
            Step::Arithmetic(operation, left, right) => self.arithmetic(*operation, left, right),
            Step::Equal(left, right) => self.elementwise([left, right], Form::Truth),
            Step::Where(condition, then, otherwise) => match self.forms[*condition] {
                Form::Truth => self.elementwise([then, otherwise], Form::Rows),
                Form::Rows | Form::Linear(_) | Form::Power => Err(not()),
            },
        }
    }

    fn of_trees(&mut self, of: usize, ensemble: &'a Ensemble) -> Result<Form, NotTaken> {
        let of_rows = matches!(self.forms[of], Form::Rows);
        if !of_rows || self.trees.replace((self.forms.len() - 1, ensemble)).is_some() {
            return Err(not());
        }
        let targets = ensemble.targets();
        let one = |target: usize| {
            let mut weights = vec![0.0; targets];
            weights[target] = 1.0;
            Linear { constant: 0.0, weights }
        };
        Ok(Form::Linear((0..targets).map(one).collect()))
    }

    fn linear(&self, of: usize) -> Result<&[Linear], NotTaken> {
        match &self.forms[of] {
            Form::Linear(columns) => Ok(columns),
            Form::Rows | Form::Power | Form::Truth => Err(not()),
        }
    }

    fn same(&self, of: usize) -> Result<Form, NotTaken> {
        self.linear(of).map(|columns| Form::Linear(columns.to_vec()))
    }

    /// 1 / (1 + e^-m) is the only use of an exponential that is known.
    fn exponential(&mut self, of: usize) -> Result<Form, NotTaken> {
        let [minus] = self.linear(of)? else { return Err(not()) };
        let margin = minus.times(-1.0);
        if self.margin.replace(margin).is_some() {
            return Err(not());
        }
        Ok(Form::Power)
    }

    fn arithmetic(&self, operation: Arithmetic, left: &Operand, right: &Operand) -> Result<Form, NotTaken> {
        let form = |operand: &Operand| match operand {
            Operand::Value(at) => Some(&self.forms[*at]),
            Operand::Row(_) => None,
        };
        match (form(left), form(right)) {
            (Some(Form::Linear(left)), None) => with_row(operation, left, right),
            (None, Some(Form::Linear(right))) if operation == Arithmetic::Add => {
                with_row(operation, right, left)
            }
            (Some(Form::Linear(left)), Some(Form::Linear(right))) if operation == Arithmetic::Add => {
                Ok(Form::Linear(left.iter().zip(right).map(|(left, right)| left.plus(right)).collect()))
            }
            (Some(Form::Power), None) | (None, Some(Form::Power)) => Ok(Form::Power),
            _ => self.elementwise([left, right], Form::Rows),
        }
    }

    fn elementwise(&self, operands: [&Operand; 2], form: Form) -> Result<Form, NotTaken> {
        let is_of_rows = |operand: &&Operand| match operand {
            Operand::Value(at) => matches!(self.forms[*at], Form::Rows),
            Operand::Row(_) => true,
        };
        if operands.iter().all(is_of_rows) && self.forest.columns > 0 { Ok(form) } else { Err(not()) }
    }
}

fn with_row(operation: Arithmetic, columns: &[Linear], row: &Operand) -> Result<Form, NotTaken> {
    let numbers: Vec<f64> = match row {
        Operand::Row(Numbers::F32(numbers)) => numbers.iter().map(|number| f64::from(*number)).collect(),
        Operand::Row(Numbers::F64(numbers)) => numbers.clone(),
        Operand::Row(_) | Operand::Value(_) => return Err(not()),
    };
    let with = |(column, number): (&Linear, &f64)| match operation {
        Arithmetic::Add => Linear { constant: column.constant + number, weights: column.weights.clone() },
        Arithmetic::Subtract => {
            Linear { constant: column.constant - number, weights: column.weights.clone() }
        }
        Arithmetic::Multiply => column.times(*number),
        Arithmetic::Divide => column.over(*number),
    };
    Ok(Form::Linear(columns.iter().zip(&numbers).map(with).collect()))
}

impl Linear {
    fn plus(&self, other: &Self) -> Self {
        let weights = self.weights.iter().zip(&other.weights).map(|(one, other)| one + other).collect();
        Self { constant: self.constant + other.constant, weights }
    }

    fn times(&self, number: f64) -> Self {
        Self {
            constant: self.constant * number,
            weights: self.weights.iter().map(|one| one * number).collect(),
        }
    }

    fn over(&self, number: f64) -> Self {
        Self {
            constant: self.constant / number,
            weights: self.weights.iter().map(|one| one / number).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
