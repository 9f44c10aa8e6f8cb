use super::*;
use clap::CommandFactory;

/// `--help` is read at once: in one screen, with an example. `help COMMAND` has what is left away there.
#[test]
fn the_help_of_every_command_fits_a_screen_and_has_an_example() {
    let mut program = Args::command().term_width(80);
    program.build();
    let commands = visible(&program);
    assert!(commands.len() > 20, "{}", commands.len());
    for mut command in commands {
        let words = command.get_bin_name().unwrap_or("fulcrum").to_owned();
        let (short, long) = (command.render_help().to_string(), command.render_long_help().to_string());
        assert!(short.lines().count() <= 50, "{words}: {} lines: {short}", short.lines().count());
        assert!(short.contains(&format!("  {words}")) && short.contains("Examples:\n"), "{words}: {short}");
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(long.contains(&format!("--{option}")), "{words}: --{option}");
        }
        // What is written in lines, such as a table, is no table if clap has to wrap it.
        let after = [command.get_after_help(), command.get_after_long_help()];
        for text in after.into_iter().flatten().map(ToString::to_string) {
            let wide = text.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "{words}");
        }
    }
}

#[test]
fn the_command_line_is_sound() {
    Args::command().debug_assert();
    let args = Args::try_parse_from(["fulcrum", "pivot", "-f", "--timeout", "90s", "-o", "json"]).unwrap();
    let Command::Pivot(pivot) = args.command else { panic!("not a pivot") };
    assert!(pivot.consent.yes);
    assert_eq!(pivot.timeout, Duration::from_secs(90));
    assert_eq!(args.global.output, Output::Json);
}
