{{/*
A CronJob that runs one of our commands, from
(dict "root" . "name" NAME "overlap" COMMENT "retry" COMMENT "command" LIST "token" BOOLEAN).
NAME is that of its section in the values, too. Its pods' labels differ from the frontends': no
Service and no budget selects them.
*/}}
{{- define "holdfast.cronJob" -}}
{{- $root := .root -}}
{{- $values := get $root.Values .name -}}
{{- $which := list $root .name -}}
{{- include "holdfast.checkSchedule" (list .name $values.schedule) -}}
{{- include "holdfast.checkResources" (list (printf "%s.resources" .name) $values.resources) -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "holdfast.componentName" (append $which 52) }}
  labels:
    {{- include "holdfast.labelsOf" $which | nindent 4 }}
spec:
  schedule: {{ $values.schedule | quote }}
  {{- with $values.timeZone }}
  timeZone: {{ . | quote }}
  {{- end }}
  # {{ .overlap }}
  concurrencyPolicy: Forbid
  # After an outage of the cluster, one overdue run is enough.
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      # {{ .retry }}
      backoffLimit: 0
      template:
        metadata:
          {{- include "holdfast.podMetadata" (append $which (dict)) | nindent 10 }}
        spec:
          restartPolicy: Never
          {{- include "holdfast.podBase" (dict "root" $root "account" (include "holdfast.accountOf" $which) "token" .token) | nindent 10 }}
          containers:
            - name: {{ .name }}
              image: {{ include "holdfast.image" $root | quote }}
              imagePullPolicy: {{ $root.Values.image.pullPolicy }}
              command:
                {{- toYaml .command | nindent 16 }}
              {{- include "holdfast.environment" $which | nindent 14 }}
              resources:
                {{- toYaml $values.resources | nindent 16 }}
              securityContext:
                {{- include "holdfast.containerSecurity" $root | nindent 16 }}
              volumeMounts:
                - name: scratch
                  mountPath: /tmp
                {{- include "holdfast.mounts" $which | nindent 16 }}
                {{- if $values.spoolSize }}
                - name: spool
                  mountPath: /spool
                {{- end }}
          volumes:
            - name: scratch
              emptyDir:
                sizeLimit: 64Mi
            {{- include "holdfast.volumes" $which | nindent 12 }}
            {{- if $values.spoolSize }}
            - name: spool
              emptyDir:
                sizeLimit: {{ $values.spoolSize }}
            {{- end }}
          {{- include "holdfast.placement" (list $root $values) | nindent 10 }}
{{- end -}}
