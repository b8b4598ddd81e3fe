# The image that `hardener-image` makes, for those who build with a container
# engine. What it declares equals package images; a test compares the two.
#
#   docker buildx build --build-arg VERSION=$(git describe --tags --always --dirty) \
#     --build-arg REVISION=$(git rev-parse HEAD) \
#     --build-arg CREATED=$(TZ=UTC git log -1 --date=iso-strict-local --format=%cd) .

# Compiled on the builder's own platform, for the target's.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ENV CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off GOAMD64=v1 GOARM64=v8.0 GOFIPS140=off
RUN go run ./profiles/generate
RUN mkdir -p -m 1777 /image/tmp && mkdir /image/licenses && cp LICENSE NOTICE /image/licenses/
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false "-ldflags=-s -w -buildid= -X main.version=$VERSION" -o /image/hardener ./cmd/hardener

FROM scratch
COPY --from=build /image/ /
ARG VERSION=dev
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="hardener" \
      org.opencontainers.image.description="Checks a Kubernetes node against the CIS benchmark and fixes what fails without leaving the node broken" \
      org.opencontainers.image.source="https://github.com/kubespray-hardener/kubespray-hardener" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
ENV HARDENER_ROOT=/host
WORKDIR /
# Root, by number: it reads what only root may read, gives files to other owners
# and talks to the node's systemd.
USER 0
ENTRYPOINT ["/hardener"]
