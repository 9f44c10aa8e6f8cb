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
        return passed_on(&words[at], &words[at + 1..], component).map(|passed| at + 1 + passed);
    }
    let is_it = |word: &String| program_name(word) == Some(component.name()) && !is_data(word);
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

/// How many of the words behind the script are not the component's flags: the script's name for itself, and the
/// program if it is the first argument. `None` unless the script ends by becoming the component with all of its
/// own arguments, and mentions the component nowhere else. Only then are those the component's flags.
fn passed_on(script: &str, behind: &[String], component: Component) -> Option<usize> {
    // An ampersand of a redirection separates nothing.
    let script = script.replace(">&", ">").replace("&>", ">");
    let script = script.trim().trim_end_matches(';');
    let (before, last) = script.rsplit_once([';', '&', '\n']).unwrap_or(("", script));
    if before.contains(component.name()) || before.contains("shift") || before.contains("set --") {
        return None;
    }
    let mut words = last.split_whitespace().map(|word| word.trim_matches('"')).peekable();
    if words.next() != Some("exec") {
        return None;
    }
    if words.next_if_eq(&"-a").is_some() {
        words.next()?; // What the process is to be called.
    }
    let is_it = |word: &str| program_name(word) == Some(component.name());
    let is_all = |word: &str| matches!(word, "$@" | "${@}");
    let passed = match words.next()? {
        word if is_all(word) => behind.get(1).is_some_and(|program| is_it(program)).then_some(2)?,
        word => {
            let runs = match word {
                "$0" | "${0}" => behind.first().is_some_and(|zero| is_it(zero)),
                word => is_it(word),
            };
            (runs && words.next().is_some_and(is_all)).then_some(1)?
        }
    };
    while let Some(word) = words.next() {
        let arrow = word.trim_start_matches(|c: char| c.is_ascii_digit());
        if !arrow.starts_with(['>', '<']) {
            return None;
        }
        if arrow.trim_start_matches(['>', '<']).is_empty() {
            words.next()?; // The file, in a word of its own.
        }
    }
    Some(passed)
}

/// Where no programs are, but files that may have the name of one.
const DATA: [&str; 6] = ["/var/", "/etc/", "/run/", "/srv/", "/proc/", "/sys/"];

/// Whether the word is the path of a file that is no program.
pub(super) fn is_data(word: &str) -> bool {
    DATA.iter().any(|dir| word.starts_with(dir))
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
            (&["sh", "-c", "exec \"$@\"", "--", "kube-apiserver", "--a"], Some(5)),
            (&["sh", "-c", "exec \"${0}\" \"${@}\"", "kube-apiserver", "--a"], Some(4)),
            (&["sh", "-c", "exec \"$0\" \"$@\" >>/var/log/x 2>&1", "kube-apiserver", "--a"], Some(4)),
            (&["sh", "-c", "exec -a kube-apiserver kube-apiserver \"$@\"", "x", "--a"], Some(4)),
            (&["bash", "-ec", "umask 27\nexec \"$@\"", "x", "kube-apiserver", "--a"], Some(5)),
            (&["sh", "-c", "exec \"$@\" --b", "x", "kube-apiserver", "--a"], None),
            (&["sh", "-c", "exec \"$@\"", "x", "other", "kube-apiserver"], None),
            (&["tail", "-F", "/var/log/kube-apiserver"], None),
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
