# Training and export, on a GPU where there is one.
#   docker build -f docker/train.Dockerfile -t segmif:train .
FROM pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime
COPY . /src
WORKDIR /src
RUN docker/steps/train.sh
USER 10001
WORKDIR /runs
VOLUME /runs
ENV PATH=/opt/segmif/bin:$PATH SEGMIF_DATA=/data
ENTRYPOINT ["segmif"]
CMD ["training", "--help"]
