# An image of the relay: small, without root, and with its own health check.
#
# Text only: no Docker was at hand to build it with. tests/packaging.rs holds it against the sources.
#
#   docker build --build-arg PUSHLET_COMMIT="$(git rev-parse HEAD)" --tag pushlet .
#   docker run --publish 9292:9292 --env PUSHLET_USERNAME=… --env PUSHLET_PASSWORD=… pushlet

FROM rust:1.88-slim-bookworm AS build
# OpenSSL is compiled in, and wants the whole of perl.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make perl \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The image has no repository to look into.
ARG PUSHLET_COMMIT=
RUN PUSHLET_COMMIT="$PUSHLET_COMMIT" cargo build --locked --release --bin pushlet

FROM debian:bookworm-slim
# The authorities by which Apple and Google are known.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/pushlet /usr/local/bin/pushlet
# By number, so that an orchestrator sees that it is not root.
USER 10001:10001
# On all addresses of the container, and so not without credentials.
ENV PORT=9292
EXPOSE 9292
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s CMD ["pushlet", "health"]
ENTRYPOINT ["pushlet"]
CMD ["serve"]
