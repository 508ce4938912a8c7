"""What was tried against the image, its build and JupyterLab's server."""

from attacks import Attack

BUILD = "a file that a notebook leaves for the next build"
NEXT = "a file that a notebook leaves for the next server"
BROWSER = "JupyterLab's file browser, over REST"
KILL = "a kill or a full disk amid a write"
STRANGER = "the server's port, without the token"
PAGE = "another page in the person's browser"
MEMORY = "memory and signals"

ATTACKS = (
    # What the container can write, and the build or the server could run.
    Attack(
        "src/pyproject.toml with a build hook, which would run as root with the build's secrets in sight",
        BUILD,
        "it is read by a parser; what it requires comes as wheels, and no hook of it is run",
        (
            "image/test_source_requirements.py::test_package_that_would_have_to_be_built_is_refused_from_src",
            "test_make_environment.py::test_other_pyproject_of_src_is_data",
        ),
    ),
    Attack(
        "src/pyproject.toml that requires an address, a path, or an option of pip's",
        BUILD,
        "the build ends, and names file and line",
        (
            "image/test_source_requirements.py::test_address_in_src_is_refused_with_its_line",
            "test_make_environment.py::test_requirement_of_src_that_pip_could_follow_is_refused",
        ),
    ),
    Attack(
        "src/pyproject.toml that requires a package with a name that the server imports",
        BUILD,
        "it is installed apart, to /opt/source, which is not on the server's path",
        ("image/test_source_requirements.py::test_required_package_is_for_notebooks_and_not_for_the_server",),
    ),
    Attack(
        "a build step that replaces a wheel in pip's cache, for another clone to install",
        BUILD,
        "each clone has caches of its own",
        ("image/test_caches.py::test_clone_is_not_told_what_another_left_in_a_cache",),
    ),
    Attack(
        "src/orjson.py and other modules that Jupyter tries to import: one ends the server, or reads its token",
        NEXT,
        "the server runs isolated, and finds neither src/ nor any folder that outlives the container",
        (
            "image/test_isolated.py::test_server_imports_nothing_of_src",
            "image/test_isolated.py::test_each_form_of_the_server_is_isolated",
            "image/test_isolated.py::test_servers_path_has_no_folder_that_is_kept",
        ),
    ),
    Attack(
        "src/sitecustomize.py under a PYTHONPATH that names src/, for conda's activation, which runs before the server",
        NEXT,
        "activation imports nothing of the folders, and a package's own script for it neither",
        ("image/test_isolated.py::test_activation_imports_nothing_of_src",),
    ),
    Attack(
        "Jupyter's and IPython's configuration, kernels and start-up files in the home and in the volume",
        NEXT,
        "only settings outlive the container, and the folder of configuration belongs to root",
        (
            "image/test_planted.py::test_planted_configuration_does_not_change_the_next_server",
            "image/test_planted.py::test_configuration_cannot_be_planted_for_a_restart",
            "image/test_planted.py::test_volume_holds_settings_only",
        ),
    ),
    Attack(
        "a server without its configuration: missing, unreadable, or with an error in it",
        NEXT,
        "it does not start, or is never healthy",
        (
            "image/test_image_files.py::test_server_ends_without_its_configuration",
            "image/test_image_files.py::test_server_that_read_no_configuration_is_not_healthy",
        ),
    ),
    # Files.
    Attack(
        "25 changes that would lose a file: of a mount, of what has one in it, or to the container's own layer",
        BROWSER,
        "each is refused before anything is touched, with a sentence that names the path",
        ("image/test_contents.py::test_change_that_would_lose_something_is_refused_whole",),
    ),
    Attack(
        "a link to the volume of JupyterLab's settings, as a place for files",
        BROWSER,
        "it is refused like any other way out of the folders",
        ("image/test_nothing_lost.py::test_settings_are_no_place_for_files",),
    ),
    Attack(
        "an upload over a file that breaks off after its first part",
        BROWSER,
        "the old file is there until the last part has come",
        (
            "image/test_nothing_lost.py::test_upload_that_breaks_off_leaves_the_old_file",
            "image/test_nothing_lost.py::test_new_file_is_not_there_before_its_last_part",
        ),
    ),
    Attack(
        "two uploads to one file at once, and parts that come twice or late",
        BROWSER,
        "a part that does not follow ends its upload; the file stays as it is",
        (
            "test_whole_files.py::test_two_uploads_to_one_file_are_not_mixed",
            "test_whole_files.py::test_part_of_an_upload_that_does_not_follow_is_refused",
        ),
    ),
    Attack(
        "kill -9 at 200 random moments of each write, and at each line of the code of some",
        KILL,
        "the old or the new content is there whole, and the next write removes what is left",
        (
            "image/test_nothing_lost.py::test_write_that_is_interrupted_loses_nothing",
            "image/test_nothing_lost.py::test_server_that_is_killed_amid_a_save_leaves_the_old_file",
            "test_whole_files.py::test_change_that_is_killed_at_any_line_is_whole_or_not_at_all",
            "test_whole_files.py::test_part_that_nobody_makes_goes_and_other_files_stay",
        ),
    ),
    Attack(
        "a disk that has room for a part of a write",
        KILL,
        "the old file is there, and nothing else",
        (
            "image/test_nothing_lost.py::test_write_that_is_interrupted_loses_nothing",
            "image/test_nothing_lost.py::test_full_disk_leaves_the_old_file",
            "test_whole_files.py::test_full_disk_leaves_the_old_file_and_nothing_else",
        ),
    ),
    Attack(
        "a kill amid the writing of JupyterLab's own settings and layouts",
        KILL,
        "they are written beside, too",
        ("image/test_nothing_lost.py::test_jupyterlabs_own_files_are_written_beside",),
    ),
    Attack(
        "a checkpoint restored over newer text that is kept nowhere",
        BROWSER,
        "the newer text is in the trash first; where the trash cannot take it, nothing is restored",
        (
            "image/test_nothing_lost.py::test_restored_checkpoint_keeps_the_newer_text",
            "image/test_nothing_lost.py::test_trash_that_is_a_link_takes_nothing",
        ),
    ),
    Attack(
        ".ipynb_checkpoints, or a checkpoint in it, as a link out of the six folders",
        BROWSER,
        "the link is in the trash, and the checkpoint in a folder of that name",
        (
            "image/test_nothing_lost.py::test_checkpoint_stays_in_the_folders",
            "image/test_nothing_lost.py::test_checkpoint_is_made_whatever_is_in_its_place",
        ),
    ),
    Attack(
        "the trash as a link out of the six folders",
        BROWSER,
        "what would be put there stays where it is",
        ("image/test_nothing_lost.py::test_trash_that_is_a_link_takes_nothing",),
    ),
    Attack(
        "a rename, a move or a copy onto a link that leads nowhere",
        BROWSER,
        "the name is taken: 409, and both are what they were",
        (
            "image/test_nothing_lost.py::test_rename_does_not_replace_a_link_that_leads_nowhere",
            "test_whole_files.py::test_name_of_a_link_that_leads_nowhere_is_taken",
        ),
    ),
    Attack(
        "a copy of a folder that holds a link to itself",
        BROWSER,
        "links stay links, so it is copied once",
        (
            "image/test_nothing_lost.py::test_folder_that_holds_itself_is_copied_once",
            "test_whole_files.py::test_link_to_itself_is_copied_as_a_link",
        ),
    ),
    Attack(
        "names in Latin-1, which were listed and could be neither opened, renamed nor deleted",
        BROWSER,
        "each byte that is no text has a stand-in, by which the file is reached",
        ("image/test_nothing_lost.py::test_name_that_is_no_text_is_shown_opened_renamed_and_deleted",),
    ),
    # The network, and other users of the machine.
    Attack(
        "every address and method without the token",
        STRANGER,
        "403, or 405; what is open tells nothing of the person",
        (
            "image/test_container.py::test_nothing_is_served_without_the_token",
            "image/test_container.py::test_health_check_is_told_nothing_more",
        ),
    ),
    Attack(
        "two bodies of 500 MB, which end the server for its memory",
        STRANGER,
        "headers are judged before a body is read, and a stranger's body may have 64 KiB",
        (
            "image/test_door.py::test_big_body_without_the_token_is_not_read",
            "image/test_door.py::test_small_body_without_the_token_is_refused_as_ever",
        ),
    ),
    Attack(
        "the port of a server that was killed, held by another until an open tab has told it the token",
        STRANGER,
        "after such an end the server has another token",
        ("image/test_door.py::test_token_is_another_after_an_end_that_may_have_told_it",),
    ),
    Attack(
        "/logout, which forgets the cookie of the person whose browser is led there",
        STRANGER,
        "it takes the token, too",
        ("image/test_door.py::test_logging_out_takes_the_token",),
    ),
    Attack(
        "the log, for a token in the address of a page that is not there: ?token=, ?%74oken=, and in the Referer",
        "the log",
        "no line holds what stands after a `?`",
        ("image/test_door.py::test_log_keeps_no_query",),
    ),
    Attack(
        "a name that is rebound to 127.0.0.1, with the token",
        PAGE,
        "a foreign Host header gets 403",
        ("image/test_container.py::test_foreign_host_is_refused_with_the_token",),
    ),
    Attack(
        "a form of another site, with the person's cookie",
        PAGE,
        "cookies are SameSite=Lax, and out of reach for scripts",
        ("image/test_container.py::test_cookies_are_not_sent_with_another_sites_forms",),
    ),
    Attack(
        "forms, scripts, pictures and sockets of another port, with the cookie, to an application behind /proxy/",
        PAGE,
        "what the page of another origin sends gets 403, whoever would answer it",
        ("image/test_extensions.py::test_page_of_another_origin_reaches_no_application",),
    ),
    Attack(
        "the cookie, received on another port of the address: another clone's server, a program of another user",
        PAGE,
        "a browser sends it to a path that nobody else knows, and nobody is told; elsewhere it is worth nothing",
        (
            "image/test_browser.py::test_other_port_of_the_address_gets_no_cookie",
            "image/test_container.py::test_cookie_opens_nothing_but_where_no_other_server_is_sent_it",
            "image/test_container.py::test_place_of_the_cookie_is_told_to_nobody_without_the_token",
        ),
    ),
    Attack(
        "an old link, and the cookie of a browser that came by it",
        STRANGER,
        "after `url --rotate`, and in another container, they open nothing",
        (
            "image/test_container.py::test_rotation_shuts_out_the_old_link_and_its_browsers",
            "image/test_container.py::test_each_container_has_a_token_of_its_own",
        ),
    ),
    # Limits.
    Attack(
        "more than the container's memory written to /tmp, /dev/shm and the home of a hardened clone",
        MEMORY,
        "each has a size; all together leave room for the server and a kernel in 500 MB",
        ("image/test_hardened.py::test_full_tmp_does_not_end_the_server",),
    ),
    Attack(
        "Ctrl-C and SIGTERM as Python starts, is configured, or serves",
        MEMORY,
        "the server ends without a traceback",
        ("image/test_door.py::test_signal_ends_the_server_without_a_traceback",),
    ),
)
