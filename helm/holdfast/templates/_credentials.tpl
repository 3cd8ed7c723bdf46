{{/*
Credentials, as references to existing Secrets: the chart never sees their values. Jobs may have
credentials of their own; what they don't name is the frontends'.
*/}}

{{/* The Secret of "s3" or "redis" that a component uses, as JSON, from (list . COMPONENT KIND). */}}
{{- define "holdfast.secretOf" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 2 -}}
{{- $own := get (get $root.Values (index . 1) | default dict) $kind | default dict -}}
{{- $secret := (get $root.Values $kind).existingSecret -}}
{{- if and $own.existingSecret $own.existingSecret.name -}}
{{- $secret = $own.existingSecret -}}
{{- end -}}
{{- toJson $secret -}}
{{- end -}}

{{/* From (list . COMPONENT). */}}
{{- define "holdfast.credentials" -}}
{{- $redis := include "holdfast.secretOf" (append . "redis") | fromJson -}}
{{- $s3 := include "holdfast.secretOf" (append . "s3") | fromJson -}}
- name: HOLDFAST_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "redis.existingSecret.name is required: the frontends of one bucket share a Redis, and its URL is read from a Secret" $redis.name }}
      key: {{ $redis.key }}
{{- if and $s3.name $s3.credentialsKey }}
- name: AWS_SHARED_CREDENTIALS_FILE
  value: /s3/credentials
{{- else if $s3.name }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $s3.name }}
      key: {{ $s3.accessKeyIdKey }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $s3.name }}
      key: {{ $s3.secretAccessKeyKey }}
{{- end }}
{{- end -}}

{{/* All variables of a container that runs a program of ours, from (list . COMPONENT). */}}
{{- define "holdfast.environment" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.envFrom }}
# The chart's own settings are in env, which overrides this.
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- include "holdfast.settings" $root | nindent 2 }}
  {{- include "holdfast.credentials" . | nindent 2 }}
  {{- if eq (include "holdfast.hasAuthorities" $root) "true" }}
  # The variables of S3's clients, of OpenSSL (for Redis) and of the exporter of traces.
  {{- range list "AWS_CA_BUNDLE" "SSL_CERT_FILE" "OTEL_EXPORTER_OTLP_CERTIFICATE" }}
  - name: {{ . }}
    value: /authorities/ca.crt
  {{- end }}
  {{- end }}
  {{- if not (has "HOME" (include "holdfast.extraNames" $root | fromJsonArray)) }}
  # The user has no home, and the root file system is read-only.
  - name: HOME
    value: /tmp
  {{- end }}
  {{- with $root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The names in extraEnv, as JSON. */}}
{{- define "holdfast.extraNames" -}}
{{- $names := list -}}
{{- range .Values.extraEnv -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}
