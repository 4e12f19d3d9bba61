//go:build never

// Package helm3 is never built: it keeps Helm's program in go.mod, so that `go mod tidy` leaves it there.
package helm3

import _ "helm.sh/helm/v3/cmd/helm"
