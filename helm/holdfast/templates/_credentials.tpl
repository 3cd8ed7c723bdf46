{{/* Credentials, as references to existing Secrets: the chart never sees their values. */}}
{{- define "holdfast.credentials" -}}
- name: HOLDFAST_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "redis.existingSecret.name is required: the frontends of one bucket share a Redis, and its URL is read from a Secret" .Values.redis.existingSecret.name }}
      key: {{ .Values.redis.existingSecret.key }}
{{- with .Values.s3.existingSecret }}
{{- if .name }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .accessKeyIdKey }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .secretAccessKeyKey }}
{{- end }}
{{- end }}
{{- end -}}
