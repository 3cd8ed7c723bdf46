{{/*
The settings of all programs. They are variables of the pods, and not keys of a ConfigMap, so that
a pod keeps the settings of its own version: if one of the last version restarts while an upgrade
is under way, it doesn't meet settings that it doesn't know.
*/}}
{{- define "holdfast.settings" -}}
- name: HOLDFAST_LISTEN
  value: {{ include "holdfast.listen" . | quote }}
- name: HOLDFAST_IDENTITIES
  value: {{ eq (include "holdfast.hasIdentities" .) "true" | ternary "/etc/holdfast/identities.toml" "" | quote }}
- name: HOLDFAST_HTTP
  value: {{ include "holdfast.http" . | quote }}
- name: HOLDFAST_S3_BUCKET
  value: {{ required "s3.bucket is required: the frontends share it" .Values.s3.bucket | quote }}
- name: HOLDFAST_S3_ENDPOINT
  value: {{ .Values.s3.endpoint | quote }}
- name: HOLDFAST_S3_REGION
  value: {{ .Values.s3.region | quote }}
- name: HOLDFAST_S3_PREFIX
  value: {{ .Values.s3.prefix | quote }}
- name: HOLDFAST_S3_PATH_STYLE
  value: {{ .Values.s3.pathStyle | quote }}
- name: HOLDFAST_S3_CHECKSUMS
  value: {{ .Values.s3.checksums | quote }}
- name: HOLDFAST_DATA_DIR
  value: /tmp/holdfast
- name: HOLDFAST_DISK_CACHE_DIR
  value: /cache
- name: HOLDFAST_QUOTAS
  value: {{ eq (include "holdfast.hasQuotas" .) "true" | ternary "/quotas/quotas.toml" "" | quote }}
{{- range $name, $value := .Values.settings }}
- name: HOLDFAST_{{ snakecase $name | upper }}
  value: {{ kindIs "float64" $value | ternary (toJson $value) $value | quote }}
{{- end }}
{{- end -}}
