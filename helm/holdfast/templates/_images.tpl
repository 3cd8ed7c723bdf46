{{/*
The image of a container, from (list . IMAGE NAME): IMAGE has repository, tag, digest, and NAME is
its path in the values. global.imageRegistry takes the place of the repository's registry, which is
what stands before the first "/" if it has a dot or a colon, or is "localhost".
*/}}
{{- define "holdfast.imageOf" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $repository := required (printf "%s.repository is required: no image is published; the chart's README says what one needs" (index . 2)) $image.repository -}}
{{- with $root.Values.global.imageRegistry -}}
{{- $first := regexFind "^[^/]+/" $repository -}}
{{- if or (contains "." $first) (contains ":" $first) (eq $first "localhost/") -}}
{{- $repository = trimPrefix $first $repository -}}
{{- end -}}
{{- $repository = printf "%s/%s" . $repository -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "holdfast.image" -}}
{{- include "holdfast.imageOf" (list . .Values.image "image") -}}
{{- end -}}

{{/* The Secrets for pulling images, of the chart and of global; nothing if there are none. */}}
{{- define "holdfast.pullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
