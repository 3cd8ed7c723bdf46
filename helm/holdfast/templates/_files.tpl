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

{{/* "true" if there are authorities of our own for the backends' certificates. */}}
{{- define "holdfast.hasAuthorities" -}}
{{- with .Values.extraCAs -}}
{{- if and .configMap .secret -}}
{{- fail "set only one of extraCAs.configMap and extraCAs.secret" -}}
{{- end -}}
{{- not (and (empty .configMap) (empty .secret)) -}}
{{- end -}}
{{- end -}}

{{/*
What frontends and jobs read: volumes, as a list in JSON of (dict "mount" PATH "volume" VOLUME),
from (list . COMPONENT).
*/}}
{{- define "holdfast.sharedFiles" -}}
{{- $root := index . 0 -}}
{{- $redis := include "holdfast.secretOf" (append . "redis") | fromJson -}}
{{- $s3 := include "holdfast.secretOf" (append . "s3") | fromJson -}}
{{- $found := list -}}
{{- if eq (include "holdfast.hasQuotas" $root) "true" -}}
{{- $from := $root.Values.existingQuotas -}}
{{- if $root.Values.quotas -}}
{{- $from = dict "configMap" (printf "%s-quotas" (include "holdfast.fullname" $root)) "key" "quotas.toml" -}}
{{- end -}}
{{- $found = append $found (dict "name" "quotas" "mount" "/quotas" "from" $from "items" (dict $from.key "quotas.toml")) -}}
{{- end -}}
{{- if $redis.passwordKey -}}
{{- $found = append $found (dict "name" "redis" "mount" "/redis" "from" (dict "secret" $redis.name) "items" (dict $redis.passwordKey "password")) -}}
{{- end -}}
{{- if and $s3.name $s3.credentialsKey -}}
{{- $found = append $found (dict "name" "s3" "mount" "/s3" "from" (dict "secret" $s3.name) "items" (dict $s3.credentialsKey "credentials")) -}}
{{- end -}}
{{- if eq (include "holdfast.hasAuthorities" $root) "true" -}}
{{- $from := $root.Values.extraCAs -}}
{{- $found = append $found (dict "name" "authorities" "mount" "/authorities" "from" $from "items" (dict $from.key "ca.crt")) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* From (list . COMPONENT). */}}
{{- define "holdfast.mounts" -}}
{{- range include "holdfast.sharedFiles" . | fromJsonArray }}
- name: {{ .name }}
  mountPath: {{ .mount }}
  readOnly: true
{{- end }}
{{- with (index . 0).Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "holdfast.volumes" -}}
{{- range include "holdfast.sharedFiles" . | fromJsonArray }}
- name: {{ .name }}
  {{- include "holdfast.source" (dict "from" .from "items" .items) | nindent 2 }}
{{- end }}
{{- with (index . 0).Values.extraVolumes }}
{{ toYaml . }}
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
{{- if include "holdfast.tlsSecret" . }}
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
{{- with include "holdfast.tlsSecret" . }}
- name: tls
  {{- include "holdfast.source" (dict "from" (dict "secret" .)) | nindent 2 }}
{{- end }}
{{- end -}}
