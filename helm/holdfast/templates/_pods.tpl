{{/*
What every pod of this chart has, whatever it runs: nobody's user, no right that it doesn't need.
*/}}

{{/* From (dict "root" . "account" NAME "token" BOOLEAN). */}}
{{- define "holdfast.podBase" -}}
{{- $user := int .root.Values.runAsUser -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: {{ .token }}
# Otherwise a Service named holdfast would add HOLDFAST_… variables to the settings.
enableServiceLinks: false
{{- with include "holdfast.pullSecrets" .root }}
{{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $user }}
  runAsGroup: {{ $user }}
  fsGroup: {{ $user }}
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{/* Where a job's pods run, from (list . VALUES): what VALUES don't say is as for the frontends. */}}
{{- define "holdfast.placement" -}}
{{- $values := (index . 0).Values -}}
{{- $own := index . 1 -}}
{{- with default $values.priorityClassName $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with default $values.nodeSelector $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $values.tolerations $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "holdfast.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
Labels and annotations of a pod, from (list . COMPONENT ANNOTATIONS): the values' own are added,
and never replace the chart's.
*/}}
{{- define "holdfast.podMetadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "holdfast.labelsOf" . | nindent 2 }}
  {{- with $root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (index . 2) $root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
Containers that the values bring along, from (list . CONTAINERS). Where the namespace enforces the
restricted level of Pod Security, containers without what it asks for get it; the rest of what it
asks for is the pod's.
*/}}
{{- define "holdfast.containers" -}}
{{- $root := index . 0 -}}
{{- $found := list -}}
{{- range index . 1 -}}
{{- $container := deepCopy . -}}
{{- if eq $root.Values.podSecurity "restricted" -}}
{{- $least := dict "allowPrivilegeEscalation" false "capabilities" (dict "drop" (list "ALL")) -}}
{{- $_ := set $container "securityContext" (mergeOverwrite $least ($container.securityContext | default dict)) -}}
{{- end -}}
{{- $found = append $found $container -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
