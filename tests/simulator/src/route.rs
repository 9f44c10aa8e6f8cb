//! Reads the path and the query of a request.

use super::failure::Failure;
use super::resource::Resource;

/// The subject of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) version: String,
    pub(super) resource: &'static Resource,
    /// `None`: cluster-scoped, or all namespaces.
    pub(super) namespace: Option<String>,
    /// `None`: the collection.
    pub(super) name: Option<String>,
    /// Whether the path names `/status`.
    pub(super) status: bool,
}

impl Route {
    /// Reads `/api/v1/…` and `/apis/<group>/<version>/…`. Does not check whether the release serves it.
    pub(super) fn of(path: &str) -> Result<Self, Failure> {
        let unknown = || Failure::no_path(path);
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(unknown()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..] if *plural != "status" => {
                (Some((*namespace).to_owned()), [&[*plural], rest].concat())
            }
            _ => (None, rest.to_vec()),
        };
        let (plural, name, sub) = match rest.as_slice() {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some(*name), None),
            [plural, name, sub] => (*plural, Some(*name), Some(*sub)),
            _ => return Err(unknown()),
        };
        let resource = Resource::find(group, plural).ok_or_else(unknown)?;
        let status = match sub {
            None => false,
            Some("status") if resource.status => true,
            Some(_) => return Err(unknown()),
        };
        let misplaced = resource.namespaced != namespace.is_some() && (name.is_some() || namespace.is_some());
        if misplaced {
            return Err(unknown());
        }
        Ok(Self { version: version.to_owned(), resource, namespace, name: name.map(Into::into), status })
    }
}

/// The parameters of a query, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// To the API server, `1` and `true` are true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects_and_collections() {
        let route = |path| Route::of(path).map(|r| (r.resource.kind, r.namespace, r.name, r.status));
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(route("/api/v1/nodes/n"), Ok(("Node", None, some("n"), false)));
        assert_eq!(route("/api/v1/namespaces/n/status"), Ok(("Namespace", None, some("n"), true)));
        assert_eq!(route("/api/v1/pods"), Ok(("Pod", None, None, false)));
        assert_eq!(route("/api/v1/namespaces/a/pods/p/status"), Ok(("Pod", some("a"), some("p"), true)));
        assert_eq!(route("/apis/apps/v1/namespaces/a/daemonsets"), Ok(("DaemonSet", some("a"), None, false)));
        for unknown in ["/", "/api/v1/pods/p", "/api/v1/namespaces/a/nodes", "/apis/apps/v1/pods"] {
            assert_eq!(route(unknown), Err(Failure::no_path(unknown)), "{unknown}");
        }
    }
}
