{{/*
Files that pods read. Each Secret and ConfigMap is mounted as a folder of its own, never by
subPath: what changes in it, such as a renewed key, reaches the pod without a restart.
*/}}

{{/* The source of a volume, from (dict "from" {configMap, secret} "items" {key: file name}). */}}
{{- define "holdfast.source" -}}
{{- $items := .items -}}
{{- if .from.secret -}}
secret:
  secretName: {{ .from.secret }}
  defaultMode: 0440
{{- else -}}
configMap:
  name: {{ .from.configMap }}
{{- end }}
{{- with $items }}
  items:
    {{- range $key, $path := . }}
    - key: {{ $key }}
      path: {{ $path }}
    {{- end }}
{{- end }}
{{- end -}}

{{/*
"true" if there is such a file, from (list . NAME EXISTING): one that the values contain, or one
that exists, and not both.
*/}}
{{- define "holdfast.hasFile" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $existing := get $root.Values (index . 2) -}}
{{- $given := list (get $root.Values $name) $existing.configMap $existing.secret | compact -}}
{{- if gt (len $given) 1 -}}
{{- fail (printf "set only one of %s, %s.configMap and %s.secret" $name (index . 2) (index . 2)) -}}
{{- end -}}
{{- not (empty $given) -}}
{{- end -}}

{{- define "holdfast.hasIdentities" -}}
{{- include "holdfast.hasFile" (list . "identities" "existingIdentities") -}}
{{- end -}}

{{- define "holdfast.hasQuotas" -}}
{{- include "holdfast.hasFile" (list . "quotas" "existingQuotas") -}}
{{- end -}}

{{- define "holdfast.identitiesName" -}}
{{- include "holdfast.fullname" . | trunc 52 | trimSuffix "-" }}-identities
{{- end -}}

{{/* What frontends and jobs read. */}}
{{- define "holdfast.mounts" -}}
{{- if eq (include "holdfast.hasQuotas" .) "true" }}
- name: quotas
  mountPath: /quotas
  readOnly: true
{{- end }}
{{- if .Values.redis.existingSecret.passwordKey }}
- name: redis
  mountPath: /redis
  readOnly: true
{{- end }}
{{- if eq (include "holdfast.hasS3File" .) "true" }}
- name: s3
  mountPath: /s3
  readOnly: true
{{- end }}
{{- end -}}

{{- define "holdfast.volumes" -}}
{{- if eq (include "holdfast.hasQuotas" .) "true" }}
- name: quotas
  {{- if .Values.quotas }}
  configMap:
    name: {{ include "holdfast.fullname" . }}-quotas
  {{- else }}
  {{- include "holdfast.source" (dict "from" .Values.existingQuotas "items" (dict .Values.existingQuotas.key "quotas.toml")) | nindent 2 }}
  {{- end }}
{{- end }}
{{- with .Values.redis.existingSecret }}
{{- if .passwordKey }}
- name: redis
  {{- include "holdfast.source" (dict "from" (dict "secret" .name) "items" (dict .passwordKey "password")) | nindent 2 }}
{{- end }}
{{- end }}
{{- if eq (include "holdfast.hasS3File" .) "true" }}
- name: s3
  {{- with .Values.s3.existingSecret }}
  {{- include "holdfast.source" (dict "from" (dict "secret" .name) "items" (dict .credentialsKey "credentials")) | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What frontends alone read: who asks, and by which keys they know that. */}}
{{- define "holdfast.trustMounts" -}}
{{- if eq (include "holdfast.hasIdentities" .) "true" }}
- name: identities
  mountPath: /etc/holdfast
  readOnly: true
{{- end }}
{{- range .Values.tokenKeys }}
- name: token-keys-{{ .name }}
  mountPath: /token-keys/{{ .name }}
  readOnly: true
{{- end }}
{{- if .Values.listener.tls.existingSecret.name }}
- name: tls
  mountPath: /tls
  readOnly: true
{{- end }}
{{- end -}}

{{- define "holdfast.trustVolumes" -}}
{{- if eq (include "holdfast.hasIdentities" .) "true" }}
- name: identities
  {{- if .Values.identities }}
  configMap:
    name: {{ include "holdfast.identitiesName" . }}
  {{- else }}
  {{- include "holdfast.source" (dict "from" .Values.existingIdentities "items" (dict .Values.existingIdentities.key "identities.toml")) | nindent 2 }}
  {{- end }}
{{- end }}
{{- range .Values.tokenKeys }}
- name: token-keys-{{ .name }}
  {{- include "holdfast.source" (dict "from" .) | nindent 2 }}
{{- end }}
{{- with .Values.listener.tls.existingSecret.name }}
- name: tls
  {{- include "holdfast.source" (dict "from" (dict "secret" .)) | nindent 2 }}
{{- end }}
{{- end -}}
