//go:build never

// Package helm4 is never built: it keeps Helm's program in go.mod, so that `go mod tidy` leaves it there.
package helm4

import _ "helm.sh/helm/v4/cmd/helm"
