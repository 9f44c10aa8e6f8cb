//! The APIs that clients still ask for and that a release takes away. Pure.

use super::Version;
use std::fmt;

/// The API server's metric that says so: one line for each resource that was asked for since its start.
const METRIC: &str = "apiserver_requested_deprecated_apis{";

/// An API that somebody has asked for and that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedApi {
    /// The group, the version and the resource, as `kubectl get` takes them: `ingresses.v1beta1.extensions`.
    pub resource: String,
    /// The minor release without it.
    pub removed_in: u32,
    /// The nodes whose API servers say so, as far as they are known.
    pub asked_of: Vec<String>,
}

impl fmt::Display for RemovedApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (gone in 1.{}", self.resource, self.removed_in)?;
        if !self.asked_of.is_empty() {
            write!(f, ", asked of {}", self.asked_of.join(" and "))?;
        }
        f.write_str(")")
    }
}

/// The APIs in the metrics of an API server that the release `to` does not serve any more.
pub fn removed_apis(metrics: &str, to: Version) -> Vec<RemovedApi> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(METRIC)?.rsplit_once("} "));
    let asked = lines.filter(|(_, count)| count.trim() != "0").filter_map(|(labels, _)| {
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        let removed_in = label("removed_release")?.strip_prefix("1.")?.parse().ok()?;
        let parts = [label("resource")?, label("version")?, label("group")?];
        let resource = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        (removed_in <= to.minor).then(|| RemovedApi { resource, removed_in, asked_of: Vec::new() })
    });
    let mut found: Vec<RemovedApi> = asked.collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_with_the_release_is_found_and_nothing_else() {
        let metrics = "# TYPE apiserver_requested_deprecated_apis gauge\n\
            apiserver_requested_deprecated_apis{group=\"extensions\",removed_release=\"1.22\",resource=\"ingresses\",\
            subresource=\"\",version=\"v1beta1\"} 1\n\
            apiserver_requested_deprecated_apis{group=\"\",removed_release=\"1.36\",resource=\"endpoints\",\
            subresource=\"\",version=\"v1\"} 1\n\
            apiserver_requested_deprecated_apis{group=\"x\",removed_release=\"\",resource=\"y\",version=\"v1\"} 1\n\
            other{group=\"x\",removed_release=\"1.20\",resource=\"y\",version=\"v1\"} 1\n";
        let names = |minor: u32| -> Vec<String> {
            removed_apis(metrics, Version { minor, patch: 0 }).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(21), [""; 0]);
        assert_eq!(names(35), ["ingresses.v1beta1.extensions (gone in 1.22)"]);
        assert_eq!(names(36)[1], "endpoints.v1 (gone in 1.36)");
    }
}
