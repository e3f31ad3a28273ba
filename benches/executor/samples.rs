//! What was measured, by name; and the median of it.

use std::collections::BTreeMap;

use crate::Failure;

pub struct Samples {
    all: BTreeMap<String, Vec<f64>>,
    only: String,
}

impl Samples {
    pub fn new(only: &str) -> Self {
        Self { all: BTreeMap::new(), only: only.to_owned() }
    }

    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// Measures once, if this case is wanted.
    pub fn take(
        &mut self,
        name: &str,
        measure: impl FnOnce() -> Result<f64, Failure>,
    ) -> Result<(), Failure> {
        if self.wants(name) {
            let value = measure().map_err(|e| format!("{name}: {e}"))?;
            self.add(name, value);
        }
        Ok(())
    }

    pub fn add(&mut self, name: &str, value: f64) {
        self.all.entry(name.to_owned()).or_default().push(value);
    }

    pub fn sum(&self, name: &str) -> f64 {
        self.all.get(name).map_or(0.0, |values| values.iter().sum())
    }

    /// None if it was not measured.
    pub fn median(&self, name: &str) -> Option<f64> {
        let mut values = self.all.get(name)?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        Some(if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 })
    }

    /// The median of the rounds' own ratios: what disturbs a round disturbs both sides of it.
    pub fn ratio(&self, name: &str, floor: &str) -> Option<f64> {
        let (above, below) = (self.all.get(name)?, self.all.get(floor)?);
        let mut ratios = Self::new("");
        above.iter().zip(below).for_each(|(a, b)| ratios.add("ratio", a / b));
        ratios.median("ratio")
    }
}
