//! A person's editor, as `kubectl edit` uses it.

use crate::exit::{Exit, Failure};
use std::io::Write;
use std::process::Command;

/// What a person has made of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// Another text.
    Text(String),
    /// Nothing was changed, or nothing is left.
    Cancelled,
}

/// The editor that the environment names: `KUBE_EDITOR`, then `EDITOR`, else `vi`.
pub(crate) fn of_environment() -> String {
    let named = ["KUBE_EDITOR", "EDITOR"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|editor| !editor.trim().is_empty()).unwrap_or_else(|| "vi".to_owned())
}

/// Lets a person edit the text. `editor` may have arguments: a shell reads it. The file is the person's alone.
///
/// # Errors
/// When the editor cannot be started, or fails.
pub(crate) fn edit(editor: &str, text: &str) -> Result<Written, Failure> {
    let failed = |cause: String| {
        let text =
            format!("edit the command line with `{editor}`: {cause}; name another with EDITOR, or use --set");
        Failure::new(Exit::Refused, anyhow::anyhow!(text))
    };
    let mut file = tempfile::Builder::new().prefix("fulcrum-edit-").suffix(".txt").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{editor} \"$@\""), editor]).arg(file.path());
    let status = command.status().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    // Many editors write another file and rename it. So the path is read, not the open file.
    let written = std::fs::read_to_string(file.path())?;
    let empty = written.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
    Ok(if empty || written == text { Written::Cancelled } else { Written::Text(written) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_has_arguments_and_what_is_unchanged_is_cancelled() {
        let edited = |editor: &str| edit(editor, "# words\none\ntwo\n");
        assert_eq!(edited("sed -i s/two/2/").unwrap(), Written::Text("# words\none\n2\n".to_owned()));
        assert_eq!(edited("true").unwrap(), Written::Cancelled);
        assert_eq!(edited("sed -i /^[^#]/d").unwrap(), Written::Cancelled, "only comments are left");
        let failed = edited("exit 3;").unwrap_err();
        assert!(failed.error.to_string().contains("exit status: 3"), "{}", failed.error);
    }
}
