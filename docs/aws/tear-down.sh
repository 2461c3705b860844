#!/bin/bash
# Deletes everything that docs/aws.md makes, by the names in aws.env. The database goes without a
# last snapshot. Run it in the folder of aws.env.
# shellcheck source=/dev/null
. ./aws.env
aws ec2 modify-instance-attribute --instance-id "$LOGIN" --no-disable-api-termination
aws ec2 terminate-instances --instance-ids "$LOGIN"
aws ec2 wait instance-terminated --instance-ids "$LOGIN"
FLEET=$(aws ec2 describe-instances --filters Name=tag:bbs:fleet,Values=bbs Name=instance-state-name,Values=pending,running,stopping,stopped --query 'Reservations[].Instances[].InstanceId' --output text)
echo "$FLEET" | xargs -r aws ec2 terminate-instances --instance-ids
echo "$FLEET" | xargs -r aws ec2 wait instance-terminated --instance-ids
aws rds delete-db-instance --db-instance-identifier bbs --skip-final-snapshot --delete-automated-backups
aws rds wait db-instance-deleted --db-instance-identifier bbs
aws rds delete-db-subnet-group --db-subnet-group-name bbs
aws ec2 delete-network-interface --network-interface-id "$INTERFACE"
aws ec2 release-address --allocation-id "$ADDRESS_ID"
for template in $(aws ec2 describe-launch-templates --filters Name=tag:bbs:fleet,Values=bbs --query 'LaunchTemplates[].LaunchTemplateId' --output text); do
    aws ec2 delete-launch-template --launch-template-id "$template"
done
for image in $(aws ec2 describe-images --owners self --filters Name=tag:bbs:fleet,Values=bbs --query 'Images[].ImageId' --output text); do
    aws ec2 deregister-image --image-id "$image"
done
for snapshot in $(aws ec2 describe-snapshots --owner-ids self --filters Name=tag:bbs:fleet,Values=bbs --query 'Snapshots[].SnapshotId' --output text); do
    aws ec2 delete-snapshot --snapshot-id "$snapshot"
done
aws s3 rb --force "s3://$BUCKET"
for role in login app; do
    aws iam remove-role-from-instance-profile --instance-profile-name "bbs-$role" --role-name "bbs-$role"
    aws iam delete-instance-profile --instance-profile-name "bbs-$role"
    for policy in $(aws iam list-role-policies --role-name "bbs-$role" --query PolicyNames --output text); do
        aws iam delete-role-policy --role-name "bbs-$role" --policy-name "$policy"
    done
    aws iam delete-role --role-name "bbs-$role"
done
aws ssm delete-parameters --names /bbs/database /bbs/broker
test -z "${LOG_GROUP:-}" || aws logs delete-log-group --log-group-name "$LOG_GROUP"
aws ec2 delete-security-group --group-id "$DATABASE_GROUP"
aws ec2 revoke-security-group-ingress --group-id "$LOGIN_GROUP" --protocol tcp --port 61613 --source-group "$APP_GROUP"
aws ec2 delete-security-group --group-id "$APP_GROUP"
aws ec2 delete-security-group --group-id "$LOGIN_GROUP"
aws ec2 delete-subnet --subnet-id "$SUBNET_A"
aws ec2 delete-subnet --subnet-id "$SUBNET_B"
aws ec2 detach-internet-gateway --internet-gateway-id "$GATEWAY" --vpc-id "$VPC"
aws ec2 delete-internet-gateway --internet-gateway-id "$GATEWAY"
aws ec2 delete-vpc --vpc-id "$VPC"
rm aws.env
