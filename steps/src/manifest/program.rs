//! Finds the component's own program among a container's words, and the beginning of its flags.

use crate::component::Component;

/// Programs that take a script after `-c`.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ash", "ksh"];

/// The place of the first word that the component reads as a flag of its own. `None` if none of the words
/// runs it, or if a script decides which words it gets.
///
/// The program need not be the first word. Another program may start it and pass its arguments on
/// (`hyperkube`, `/go-runner --log-file=…`, `tini --`, `nice -n 5`, `sh -c 'exec "$0" "$@"'`).
pub(super) fn flags_from(words: &[String], component: Component) -> Option<usize> {
    if let Some(at) = script(words) {
        return passed_on(&words[at], words.get(at + 1), component).then_some(at + 2);
    }
    let is_it = |word: &String| program_name(word) == Some(component.name());
    // `--log-file /var/log/kube-apiserver` is a flag's value.
    let is_value = |at: usize| {
        at.checked_sub(1)
            .and_then(|before| words.get(before))
            .is_some_and(|word| word.len() > 2 && word.starts_with("--") && !word.contains('='))
    };
    let places = || words.iter().enumerate().filter(|(_, word)| is_it(word)).map(|(at, _)| at);
    places().find(|at| !is_value(*at)).or_else(|| places().next()).map(|at| at + 1)
}

/// The place of the script for a shell among the words.
fn script(words: &[String]) -> Option<usize> {
    let shell =
        words.iter().position(|word| program_name(word).is_some_and(|name| SHELLS.contains(&name)))?;
    let option = |word: &&String| word.starts_with('-') && word.len() > 1;
    let options = words[shell + 1..].iter().take_while(option);
    let mut after = shell + 1;
    for word in options {
        after += 1;
        if !word.starts_with("--") && word.ends_with('c') {
            return words.get(after).map(|_| after);
        }
    }
    None
}

/// Whether the script ends by becoming the component with all of its own arguments, and mentions the
/// component nowhere else. Only then are those the component's flags. `zero` is the script's name for itself.
fn passed_on(script: &str, zero: Option<&String>, component: Component) -> bool {
    let (before, last) = match script.trim().trim_end_matches(';').rsplit_once([';', '&', '\n']) {
        Some((before, last)) => (before, last),
        None => ("", script),
    };
    let mut words = last.split_whitespace().map(|word| word.trim_matches('"'));
    let runs = |word: &str| match word {
        "$0" | "${0}" => zero.is_some_and(|zero| program_name(zero) == Some(component.name())),
        word => program_name(word) == Some(component.name()),
    };
    words.next() == Some("exec")
        && words.next().is_some_and(runs)
        && words.next() == Some("$@")
        && words.next().is_none()
        && !before.contains(component.name())
        && !before.contains("shift")
        && !before.contains("set --")
}

/// The file name of a word that can be a program. A line for a shell cannot.
fn program_name(word: &str) -> Option<&str> {
    if word.starts_with('-') || word.contains(char::is_whitespace) { None } else { word.rsplit('/').next() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_behind_what_starts_it() {
        for (words, expected) in [
            (&["kube-apiserver", "--a"][..], Some(1)),
            (&["/usr/local/bin/kube-apiserver"], Some(1)),
            (&["/hyperkube", "kube-apiserver", "--a"], Some(2)),
            (&["/go-runner", "--log-file=/var/log/kube-apiserver", "kube-apiserver"], Some(3)),
            (&["/go-runner", "--log-file", "/var/log/kube-apiserver", "/bin/kube-apiserver"], Some(4)),
            (&["tini", "--", "kube-apiserver"], Some(3)),
            (&["tini", "-s", "kube-apiserver"], Some(3)),
            (&["nice", "-n", "5", "kube-apiserver"], Some(4)),
            (&["/bin/sh", "-c", r#"exec "$0" "$@""#, "kube-apiserver", "--a"], Some(4)),
            (&["sh", "-ec", "ulimit -n 65536; exec \"$0\" \"$@\"", "/bin/kube-apiserver"], Some(4)),
            (&["bash", "-e", "-c", "exec kube-apiserver \"$@\"", "x", "--a"], Some(5)),
            // The words after it are not the program's.
            (&["sh", "-c", "exec kube-apiserver --a", "kube-apiserver", "--b"], None),
            (&["sh", "-c", "exec kube-apiserver --a \"$@\"", "x", "--b"], None),
            (&["sh", "-c", "shift; exec \"$0\" \"$@\"", "kube-apiserver", "--b"], None),
            (&["sh", "-c", "exec kube-apiserver --a 2>>/var/log/kube-apiserver"], None),
            (&["sh", "-c", "exec kube-apiserver --a | tee /var/log/kube-apiserver", "x"], None),
            (&["sh", "-c", "kube-apiserver"], None),
            (&["sh", "-c"], None),
            (&["kube-apiserver --a"], None),
            (&["kube-scheduler"], None),
            (&[], None),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(flags_from(&words, Component::ApiServer), expected, "{words:?}");
        }
    }
}
