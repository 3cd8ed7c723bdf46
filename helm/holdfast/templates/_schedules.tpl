{{/*
Refuses what Kubernetes takes for no schedule, from (list SECTION TEXT).
Source: "Schedule syntax" of CronJobs, and the package robfig/cron, v3, which reads it.
*/}}
{{- define "holdfast.checkSchedule" -}}
{{- $path := printf "%s.schedule" (index . 0) -}}
{{- $text := index . 1 -}}
{{- if regexMatch "TZ=" $text -}}
{{- fail (printf "%s is %q: a zone belongs into %s.timeZone" $path $text (index . 0)) -}}
{{- end -}}
{{- if hasPrefix "@" $text -}}
{{- if not (regexMatch "^@(yearly|annually|monthly|weekly|daily|midnight|hourly|every ([0-9]+(\\.[0-9]+)?(h|m|s))+)$" $text) -}}
{{- fail (printf "%s is %q, and there is no such word: there are @hourly, @daily, @weekly, @monthly, @yearly and @every 6h" $path $text) -}}
{{- end -}}
{{- else -}}
{{- $fields := regexSplit "\\s+" (trim $text) -1 -}}
{{- if ne (len $fields) 5 -}}
{{- fail (printf "%s is %q: it must have five fields (minute, hour, day, month, weekday), and has %d" $path $text (len $fields)) -}}
{{- end -}}
{{- $kinds := list (dict "name" "minute" "min" 0 "max" 59) (dict "name" "hour" "min" 0 "max" 23) (dict "name" "day" "min" 1 "max" 31) (dict "name" "month" "min" 1 "max" 12 "words" "jan feb mar apr may jun jul aug sep oct nov dec") (dict "name" "weekday" "min" 0 "max" 6 "words" "sun mon tue wed thu fri sat") -}}
{{- range $at, $kind := $kinds -}}
{{- $field := index $fields $at | lower -}}
{{- range $offset, $word := splitList " " (get $kind "words") -}}
{{- if $word -}}
{{- $field = regexReplaceAll (printf "\\b%s\\b" $word) $field (toString (add $offset $kind.min)) -}}
{{- end -}}
{{- end -}}
{{- range splitList "," $field -}}
{{- $good := regexMatch "^([*?]|[0-9]{1,2}(-[0-9]{1,2})?)(/[1-9][0-9]?)?$" . -}}
{{- $numbers := regexFindAll "[0-9]+" (regexFind "^[^/]*" .) -1 -}}
{{- range $numbers -}}
{{- if or (lt (int .) (int $kind.min)) (gt (int .) (int $kind.max)) -}}
{{- $good = false -}}
{{- end -}}
{{- end -}}
{{- if and $good (gt (len $numbers) 1) -}}
{{- $good = le (int (first $numbers)) (int (last $numbers)) -}}
{{- end -}}
{{- if not $good -}}
{{- fail (printf "%s is %q: its %s can't be %q; it is from %d to %d, as *, a number, a range or a list, and perhaps /step" $path $text $kind.name . (int $kind.min) (int $kind.max)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
