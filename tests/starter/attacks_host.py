"""What was tried against this machine: its tasks, its git and its terminal, by what the container can write or say."""

from attacks import Attack

READ = "a file in the six folders, for the tasks to read"
GIT = "a repository in the six folders"
ARCHIVE = "an archive, for `load`"
TEXT = "a name or a text of the container's, on the terminal"
ANSWER = "what the container answers"
SOURCE = "a link or a file in the place of a mount's source"
OTHERS = "another user of this machine"

ATTACKS = (
    Attack(
        "src/pyproject.toml as a pipe, a file of 8 GB, or a link to /dev/zero",
        READ,
        "one reader takes regular files only, up to a size, and waits for nothing",
        ("test_person_files.py::test_file_of_a_mounted_folder_leads_nobody_astray",),
    ),
    Attack(
        "src/pyproject.toml as a link to /etc/shadow or docker/.pip.conf, whose first lines an error would print",
        READ,
        "no link is followed, and no message holds what a file holds",
        ("test_person_files.py::test_file_of_a_mounted_folder_leads_nobody_astray",),
    ),
    Attack(
        "core.fsmonitor, hooks and filters in the settings of src/lib/.git, run by git from the project's root",
        GIT,
        "the tasks' git runs none of them; `doctor` names them for the person's own git",
        (
            "test_planted_tools.py::test_git_that_the_tasks_call_runs_nothing_of_an_embedded_repository",
            "test_planted_tools.py::test_setting_that_git_runs_is_named",
            "image/test_planted.py::test_planted_repository_is_warned_of",
        ),
    ),
    Attack(
        "a .git file that leads elsewhere, a byte order mark before [core], settings of more than 64 KiB",
        GIT,
        "git's own parser reads them, and what cannot be read is named",
        (
            "test_planted_tools.py::test_repository_elsewhere_and_a_bare_one_are_looked_at",
            "test_planted_tools.py::test_setting_behind_a_byte_order_mark_is_named",
        ),
    ),
    Attack(
        "pipes, endless files and links in the place of a repository's settings",
        GIT,
        "looking ends, whatever was planted",
        ("test_planted_tools.py::test_looking_ends_whatever_was_planted",),
    ),
    Attack(
        "settings of pytest, of Invoke and of other tools in the six folders",
        GIT,
        "the tasks get theirs by name; `doctor` names those that a person's own tools would take",
        ("test_planted_tools.py::test_settings_of_other_tools_are_named",),
    ),
    Attack(
        "a second tag in the archive, which replaces another project's image",
        ARCHIVE,
        "only the names of this clone are taken; else the file is refused whole",
        (
            "test_load.py::test_name_that_is_not_this_clones_is_refused",
            "test_load.py::test_name_that_the_engine_has_stays_what_it_is",
            "image/test_share.py::test_archive_with_a_name_more_changes_nothing",
        ),
    ),
    Attack(
        "an archive that makes a stranger's image the base of the next builds",
        ARCHIVE,
        "a base that neither the Dockerfile nor docker/.env names is refused",
        ("test_load.py::test_base_image_of_a_stranger_is_refused",),
    ),
    Attack(
        "a pipe, a folder or a device in the place of the archive, and links in it",
        ARCHIVE,
        "each is one error, and nothing is waited for",
        (
            "test_load.py::test_what_is_no_file_is_not_waited_for",
            "test_load.py::test_file_behind_a_link_in_the_archive_is_refused",
        ),
    ),
    Attack(
        "1,000 names and texts with escape sequences, line breaks and signs that turn the direction of writing",
        TEXT,
        "each control character is shown as what it is, and one line stays one line",
        ("test_foreign_text.py::test_no_text_moves_the_cursor_or_starts_a_line",),
    ),
    Attack(
        "a file name with a line break that forges a `fix:` of doctor's, for a person to paste",
        TEXT,
        "the name is one word for the shell, which names that very file",
        ("test_foreign_text.py::test_fix_names_the_very_file",),
    ),
    Attack(
        "escape sequences in log lines and in the steps of a build",
        TEXT,
        "colours stay, and of a build what Docker itself draws; nothing else is obeyed",
        (
            "test_foreign_text.py::test_lines_of_a_container_keep_their_colours_and_nothing_else",
            "test_foreign_text.py::test_control_sequence_on_the_border_of_two_reads_is_one",
            "test_foreign_text.py::test_step_of_a_build_draws_nothing",
        ),
    ),
    Attack(
        "a server that drips its answer, or never ends it",
        ANSWER,
        "a question has 10 seconds and 4 KiB as a whole",
        ("test_link.py::test_server_that_answers_without_end_is_not_waited_for",),
    ),
    Attack(
        "a token that is a link, a folder, endless, or no text",
        ANSWER,
        "it makes no link, and is read no further than a token is long",
        (
            "image/test_hostile.py::test_what_is_no_token_is_told_and_makes_no_link",
            "test_link.py::test_what_is_no_token_makes_no_link",
        ),
    ),
    Attack(
        "a redirect of the server to somewhere else, with the token",
        ANSWER,
        "it is an answer, and not followed",
        ("image/test_hostile.py::test_redirect_of_the_server_is_not_followed",),
    ),
    Attack(
        "programs that a notebook put first on the container's PATH, for the tasks to call",
        ANSWER,
        "the tasks call programs by their path",
        ("image/test_hostile.py::test_planted_programs_are_not_run_by_the_tasks",),
    ),
    Attack(
        "all processes of the container used up, so that every mount looks broken",
        ANSWER,
        "the engine is asked for their number first, and that is what is told",
        ("test_plan.py::test_doctor_names_what_is_wrong_and_nothing_else",),
    ),
    Attack(
        "a mounted folder replaced by a link to the tasks' code",
        SOURCE,
        "no task mounts it",
        (
            "image/test_hostile.py::test_link_to_host_code_is_mounted_by_no_task",
            "test_mounts.py::test_link_to_code_that_runs_here_is_refused",
        ),
    ),
    Attack(
        "files of root that are swapped for links while root's `up` gives them to the person",
        SOURCE,
        "owners change by descriptor, and of what was seen before only",
        ("test_mounts.py::test_entry_that_was_swapped_since_it_was_seen_keeps_its_owner",),
    ),
    Attack(
        "the list of processes, for the token that a browser is started with",
        OTHERS,
        "the browser is started with a page that only the person can read",
        ("test_link.py::test_browser_is_called_without_the_token",),
    ),
    Attack(
        "a clone that everybody can write, after `umask 000`",
        OTHERS,
        "`doctor` warns, and names the command that closes it",
        ("test_plan.py::test_doctor_names_what_is_wrong_and_nothing_else",),
    ),
    Attack(
        "a link in results/ on another machine that leads out of its folder, for `pull` to follow",
        SOURCE,
        "it is not brought",
        ("image/test_ssh.py::test_pull_brings_results_and_spares_what_is_newer_here",),
    ),
    Attack(
        "a layer of an image whose names lead out of the folder where a cluster unpacks it",
        ARCHIVE,
        "nothing is unpacked outside",
        ("test_slurm_script.py::test_layer_does_not_leave_its_folder",),
    ),
)
