//! A page in Prometheus' text format (its documentation, "Exposition formats").

use prometheus::core::Metric as _;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Histogram, TextEncoder};

/// The type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is told so far.
#[derive(Debug, Default)]
pub struct Page(Vec<MetricFamily>);

/// The series of one name.
#[derive(Debug)]
pub struct Family(MetricFamily);

impl Page {
    /// Adds the series of a name; of one without series nothing is told.
    pub fn push(&mut self, family: Family) {
        if !family.0.get_metric().is_empty() {
            self.0.push(family.0);
        }
    }

    /// The text. `None` only by a bug: a name that is empty.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        TextEncoder::new().encode_to_string(&self.0).ok()
    }
}

impl Family {
    /// What only ever grows.
    #[must_use]
    pub fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// What goes up and down.
    #[must_use]
    pub fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// What is spread over buckets.
    #[must_use]
    pub(super) fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// Adds a series.
    pub fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = Metric::from_label(labels.iter().map(|label| pair(*label)).collect());
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// Adds a series whose value is a whole number.
    #[expect(clippy::cast_precision_loss, reason = "the format has nothing but 64-bit floats")]
    pub fn count(&mut self, labels: &[(&str, &str)], value: u64) {
        self.add(labels, value as f64);
    }

    pub(super) fn spread(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut metric = histogram.metric();
        metric.set_label(labels.iter().map(|label| pair(*label)).collect());
        self.0.mut_metric().push(metric);
    }
}

fn pair((name, value): (&str, &str)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_the_documented_text() {
        let mut page = Page::default();
        let mut sends = Family::counter("sends_total", "Messages.");
        sends.count(&[("application", "a\"b\\c\n"), ("reason", "")], 3);
        page.push(sends);
        page.push(Family::gauge("nothing", "Of which there is none."));
        let mut load = Family::gauge("load", "How much.");
        load.add(&[], -1.5);
        page.push(load);

        assert_eq!(
            page.text().as_deref(),
            Some(concat!(
                "# HELP sends_total Messages.\n",
                "# TYPE sends_total counter\n",
                "sends_total{application=\"a\\\"b\\\\c\\n\",reason=\"\"} 3\n",
                "# HELP load How much.\n",
                "# TYPE load gauge\n",
                "load -1.5\n",
            ))
        );
    }
}
