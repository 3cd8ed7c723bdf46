{{/* Credentials, as references to existing Secrets: the chart never sees their values. */}}
{{- define "holdfast.credentials" -}}
- name: HOLDFAST_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "redis.existingSecret.name is required: the frontends of one bucket share a Redis, and its URL is read from a Secret" .Values.redis.existingSecret.name }}
      key: {{ .Values.redis.existingSecret.key }}
{{- with .Values.s3.existingSecret }}
{{- if and .name .credentialsKey }}
- name: AWS_SHARED_CREDENTIALS_FILE
  value: /s3/credentials
{{- else if .name }}
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

{{/* "true" if the credentials for S3 are a file, which may be replaced while the pod runs. */}}
{{- define "holdfast.hasS3File" -}}
{{- with .Values.s3.existingSecret -}}
{{- and (not (empty .name)) (not (empty .credentialsKey)) -}}
{{- end -}}
{{- end -}}
