# The order of layers of the post *Conda, pip, and Docker FTW!*, on the same base image: what ours is measured against.
# Only what the base lacks differs: it has no adduser, and conda is there already.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
SHELL ["/bin/bash", "--login", "-c"]

ARG username=al-khawarizmi
ARG uid=1000
ARG gid=100
ENV USER=${username} UID=${uid} GID=${gid} HOME=/home/${username}
RUN userdel ubuntu 2>/dev/null || true; useradd --create-home --uid ${UID} --gid ${GID} ${USER}

COPY environment.yml requirements.txt /tmp/
RUN chown ${UID}:${GID} /tmp/environment.yml /tmp/requirements.txt
COPY postBuild /usr/local/bin/postBuild.sh
RUN chown ${UID}:${GID} /usr/local/bin/postBuild.sh && chmod u+x /usr/local/bin/postBuild.sh
COPY docker/entrypoint.sh /usr/local/bin/
RUN chown ${UID}:${GID} /usr/local/bin/entrypoint.sh && chmod u+x /usr/local/bin/entrypoint.sh

USER ${USER}
ENV CONDA_DIR=/opt/conda
ENV PATH=${CONDA_DIR}/bin:${PATH}
RUN echo ". ${CONDA_DIR}/etc/profile.d/conda.sh" >>~/.profile

ENV PROJECT_DIR=${HOME}/app
RUN mkdir ${PROJECT_DIR}
WORKDIR ${PROJECT_DIR}

ENV ENV_PREFIX=${PROJECT_DIR}/env
RUN --mount=type=secret,id=ca_bundle,mode=0444 \
    --mount=type=secret,id=pip_config,mode=0444 \
    grep -qs 'BEGIN CERTIFICATE' /run/secrets/ca_bundle && export PIP_CERT=/run/secrets/ca_bundle; \
    PIP_CONFIG_FILE=/run/secrets/pip_config \
    conda env create --yes --quiet --prefix ${ENV_PREFIX} --file /tmp/environment.yml && \
    conda clean --all --yes
RUN conda activate ${ENV_PREFIX} && /usr/local/bin/postBuild.sh && conda deactivate

CMD ["bash", "--login", "-c", "conda activate ${ENV_PREFIX} && exec jupyter lab --no-browser --ip 0.0.0.0"]
