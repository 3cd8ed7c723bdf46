// Modules whose custom resources' definitions the tests install; no code of theirs is built.
module holdfast.invalid/definitions

go 1.24

require (
	github.com/cert-manager/cert-manager v1.19.1
	github.com/prometheus-operator/prometheus-operator v0.86.1
)
