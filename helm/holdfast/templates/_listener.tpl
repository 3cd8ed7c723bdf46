{{/* "true" if only this pod itself can connect. */}}
{{- define "holdfast.loopback" -}}
{{- $host := .Values.listener.host -}}
{{- or (eq $host "localhost") (eq $host "::1") (hasPrefix "127." $host) -}}
{{- end -}}

{{/* The Secret with the listener's certificate; empty if it speaks no TLS. */}}
{{- define "holdfast.tlsSecret" -}}
{{- $name := .Values.listener.tls.existingSecret.name -}}
{{- if and .Values.certificates.enabled (not $name) -}}
{{- $name = include "holdfast.componentName" (list . "tls" 63) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* "true" if clients must show a certificate. */}}
{{- define "holdfast.clientCertificates" -}}
{{- and (not (empty (include "holdfast.tlsSecret" .))) (not (empty .Values.listener.tls.existingSecret.clientCaKey)) -}}
{{- end -}}

{{/*
The listener's URL. A client that reaches a port without showing a certificate can
name any tenant, so unless the port is on loopback, the values must say what keeps
strangers out.
*/}}
{{- define "holdfast.listen" -}}
{{- $listener := .Values.listener -}}
{{- $rules := eq (include "holdfast.hasIdentities" .) "true" -}}
{{- $local := eq (include "holdfast.loopback" .) "true" -}}
{{- $exposed := not (or $local (eq (include "holdfast.clientCertificates" .) "true")) -}}
{{- if and (not $rules) (eq (empty $listener.tenant) (empty $listener.tenantHeader)) -}}
{{- fail "set exactly one of listener.tenantHeader and listener.tenant: it decides which tenant asks" -}}
{{- end -}}
{{- if and $exposed (not .Values.networkPolicy.enabled) (not $listener.insecure) -}}
{{- fail (printf "listener.host is %s and networkPolicy.enabled is false: whoever reaches the port could name any tenant. Enable the policy, ask for certificates with listener.tls, listen on 127.0.0.1 behind a proxy in extraContainers, or set listener.insecure=true if something else guards the port" $listener.host) -}}
{{- end -}}
{{- if and $local (eq .Values.service.targetPort "grpc") -}}
{{- fail (printf "listener.host is %s, where the Service can't reach it: name the port of a proxy in extraContainers as service.targetPort" $listener.host) -}}
{{- end -}}
{{- if eq (int $listener.port) (int .Values.http.port) -}}
{{- fail (printf "listener.port and http.port are both %d" (int $listener.port)) -}}
{{- end -}}
{{- $host := $listener.host -}}
{{- if contains ":" $host -}}
{{- $host = printf "[%s]" $host -}}
{{- end -}}
{{- $who := printf "tenant-header=%s" $listener.tenantHeader -}}
{{- if $rules -}}
{{- $who = "identities=1" -}}
{{- else if $listener.tenant -}}
{{- $who = printf "tenant=%s" $listener.tenant -}}
{{- end -}}
{{- $scheme := "tcp" -}}
{{- $secret := $listener.tls.existingSecret -}}
{{- if include "holdfast.tlsSecret" . -}}
{{- $scheme = "tls" -}}
{{- $who = printf "%s&cert=/tls/%s&key=/tls/%s" $who $secret.certKey $secret.keyKey -}}
{{- if $secret.clientCaKey -}}
{{- $who = printf "%s&client-ca=/tls/%s" $who $secret.clientCaKey -}}
{{- end -}}
{{- end -}}
{{- printf "%s://%s:%d?%s%s" $scheme $host (int $listener.port) $who (ternary "&insecure=1" "" $exposed) -}}
{{- end -}}

{{/* Seconds from the request to stop a pod to SIGKILL: the sum of a frontend's steps. */}}
{{- define "holdfast.terminationSeconds" -}}
{{- $settings := .Values.settings -}}
{{- $sum := addf .Values.shutdown.preStopSeconds $settings.drainGrace (mulf 2 $settings.suspendGrace) .Values.shutdown.slackSeconds | ceil -}}
{{- if gt $sum 86400.0 -}}
{{- fail (printf "shutdown.preStopSeconds, settings.drainGrace, twice settings.suspendGrace and shutdown.slackSeconds are %.0f seconds in all: a pod that takes more than a day (86400) to end would keep its node from being drained" $sum) -}}
{{- end -}}
{{- int $sum -}}
{{- end -}}
