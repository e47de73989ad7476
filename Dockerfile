# The hub as a container: docker build -t adit . && docker run -p 8080:8080 -v adit:/data -e ADIT_URL=… -e ADIT_SECRET=… adit

FROM golang:1.26-bookworm AS build
COPY --from=node:22-bookworm-slim /usr/local/bin/node /usr/local/bin/node
COPY --from=node:22-bookworm-slim /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
 && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY static/package.json static/package-lock.json static/
RUN cd static && npm ci --no-audit --no-fund
COPY . .
ARG VERSION=container
RUN make build VERSION="$VERSION" && mkdir /data

# Nothing but the program, the roots of TLS and the zone names.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/bin/adit-hub /usr/local/bin/adit-hub
COPY --from=build --chown=nonroot:nonroot /data /data
ENV ADIT_DATA=/data PORT=8080
VOLUME /data
EXPOSE 8080
USER nonroot
ENTRYPOINT ["/usr/local/bin/adit-hub"]
CMD ["serve"]
