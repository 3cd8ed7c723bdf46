{{/* The file with the quotas of single nodes: a folder is mounted, so that a change reaches the pod. */}}
{{- define "holdfast.quotasMount" -}}
{{- if .Values.quotas -}}
- name: quotas
  mountPath: /quotas
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "holdfast.quotasVolume" -}}
{{- if .Values.quotas -}}
- name: quotas
  configMap:
    name: {{ include "holdfast.fullname" . }}-quotas
{{- end -}}
{{- end -}}
