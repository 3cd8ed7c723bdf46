{{/* The Secret with the certificate that the pod of `helm test` shows; empty if there is none. */}}
{{- define "holdfast.testSecret" -}}
{{- $name := .Values.test.tls.existingSecret.name -}}
{{- if and .Values.certificates.enabled (not $name) -}}
{{- $name = include "holdfast.componentName" (list . "test-tls" 63) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* "true" if there is a test: where the port speaks TLS, it needs a Secret, to know whom to trust. */}}
{{- define "holdfast.hasTest" -}}
{{- $tls := and (eq .Values.service.targetPort "grpc") (include "holdfast.tlsSecret" .) -}}
{{- and (eq (include "holdfast.hasFrontends" .) "true") .Values.test.enabled (or (not $tls) (not (empty (include "holdfast.testSecret" .)))) -}}
{{- end -}}

{{/* The command of the test's pod, as a list in JSON. */}}
{{- define "holdfast.testCommand" -}}
{{- $test := .Values.test -}}
{{- $secret := include "holdfast.testSecret" . -}}
{{- $address := printf "%s.%s.svc:%d" (include "holdfast.fullname" .) .Release.Namespace (int .Values.service.port) -}}
{{- $command := list "holdfast" "check" "--address" $address "--tenant" $test.tenant "--size" (include "holdfast.bytes" $test.size) -}}
{{- if and .Values.listener.tenantHeader (ne .Values.listener.tenantHeader "x-holdfast-tenant") -}}
{{- $command = concat $command (list "--tenant-header" .Values.listener.tenantHeader) -}}
{{- end -}}
{{- if $secret -}}
{{- $command = concat $command (list "--ca" (printf "/tls/%s" $test.tls.existingSecret.caKey)) -}}
{{- with $test.tls.existingSecret -}}
{{- if and .certKey .keyKey -}}
{{- $command = concat $command (list "--cert" (printf "/tls/%s" .certKey) "--key" (printf "/tls/%s" .keyKey)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $test.tokenAudience -}}
{{- $command = concat $command (list "--token-file" "/token/token") -}}
{{- end -}}
{{- toJson $command -}}
{{- end -}}
