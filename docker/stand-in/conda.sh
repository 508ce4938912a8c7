# `conda activate` and `conda deactivate` for sh and bash: they have to change the shell that calls them.
# The published base image brings conda's own file of this name; the one conda-lock carries has none.
conda() {
    case "${1:-}" in
    activate | deactivate)
        __conda_code="$(PS1="${PS1:-}" /opt/conda/bin/conda shell.posix "$@")" || return
        eval "${__conda_code}"
        unset __conda_code
        ;;
    *)
        /opt/conda/bin/conda "$@"
        ;;
    esac
}
